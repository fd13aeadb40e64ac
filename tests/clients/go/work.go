package main

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

const (
	writers  = 6
	lifetime = 8 // versions of an object until it is deleted and made again
	pause    = 40 * time.Millisecond
	patience = 30 * time.Second
	life     = "life"
	version  = "version"
)

// marks tell which life and which version of it an object is.
func marks(object *corev1.ConfigMap) (int, int) {
	l, _ := strconv.Atoi(object.Data[life])
	v, _ := strconv.Atoi(object.Data[version])
	return l, v
}

// writeAll has several writers create, update and delete objects of their own until the deadline; it answers how many
// changes were acknowledged. Each change is made exactly once, also when the answer to it got lost.
func writeAll(ctx context.Context, api typedv1.ConfigMapInterface, labels map[string]string, length time.Duration) (int64, error) {
	var changes atomic.Int64
	var group sync.WaitGroup
	failures := make(chan error, writers)
	deadline := time.Now().Add(length)
	for n := range writers {
		group.Go(func() {
			writer := writer{api: api, name: fmt.Sprintf("item-%d", n), labels: labels, changes: &changes}
			if err := writer.run(ctx, deadline); err != nil {
				failures <- fmt.Errorf("%s: %w", writer.name, err)
			}
		})
	}
	group.Wait()
	close(failures)
	return changes.Load(), <-failures
}

type writer struct {
	api     typedv1.ConfigMapInterface
	name    string
	labels  map[string]string
	changes *atomic.Int64
}

func (w *writer) run(ctx context.Context, deadline time.Time) error {
	for l := 1; ; l++ {
		object := &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: w.name, Labels: maps.Clone(w.labels)},
			Data:       map[string]string{life: strconv.Itoa(l), version: "1"},
		}
		current, err := w.surely(ctx, l, 1, func() (*corev1.ConfigMap, error) {
			return w.api.Create(ctx, object, metav1.CreateOptions{})
		})
		for v := 2; err == nil && v <= lifetime; v++ {
			current.Data[version] = strconv.Itoa(v)
			current, err = w.surely(ctx, l, v, func() (*corev1.ConfigMap, error) {
				return w.api.Update(ctx, current, metav1.UpdateOptions{})
			})
		}
		if err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return nil // the last life stays, for comparison
		}
		if err := w.remove(ctx); err != nil {
			return err
		}
	}
}

// surely makes one change. A change whose answer was lost is looked for before it is made again.
func (w *writer) surely(ctx context.Context, l, v int, change func() (*corev1.ConfigMap, error)) (*corev1.ConfigMap, error) {
	giveUp := time.Now().Add(patience)
	for {
		object, err := change()
		if err != nil {
			if found, getErr := w.api.Get(ctx, w.name, metav1.GetOptions{}); getErr == nil {
				if fl, fv := marks(found); fl == l && fv == v {
					object, err = found, nil
				}
			}
		}
		if err == nil {
			w.changes.Add(1)
			time.Sleep(pause)
			return object, nil
		}
		if time.Now().After(giveUp) {
			return nil, fmt.Errorf("version %d of life %d: %w", v, l, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (w *writer) remove(ctx context.Context) error {
	giveUp := time.Now().Add(patience)
	for {
		err := w.api.Delete(ctx, w.name, metav1.DeleteOptions{})
		if err == nil || apierrors.IsNotFound(err) {
			// A finalizer may hold it for a moment.
			if _, err := w.api.Get(ctx, w.name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
				w.changes.Add(1)
				return nil
			}
		}
		if time.Now().After(giveUp) {
			return fmt.Errorf("deleting: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
