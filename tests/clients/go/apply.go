package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1 "k8s.io/client-go/applyconfigurations/core/v1"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// applyOne applies one version of an object; applying it twice does no harm, so it is repeated until it is answered.
func applyOne(ctx context.Context, api typedv1.ConfigMapInterface, name string, l, v int) error {
	wanted := corev1.ConfigMap(name, "").
		WithLabels(map[string]string{source: "yes"}).
		WithData(map[string]string{life: strconv.Itoa(l), version: strconv.Itoa(v)})
	wanted.Namespace = nil
	giveUp := time.Now().Add(patience)
	for {
		_, err := api.Apply(ctx, wanted, metav1.ApplyOptions{FieldManager: "writer", Force: true})
		if err == nil {
			return nil
		}
		if time.Now().After(giveUp) {
			return fmt.Errorf("applying version %d of life %d of %s: %w", v, l, name, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
