package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

const (
	source    = "clients.gantry.local/source"
	finalizer = "clients.gantry.local/copied"
)

// copier keeps a Secret for each labelled ConfigMap, with the same data.
type copier struct {
	client.Client
	done *atomic.Int64
}

// Reconcile implements reconcile.Reconciler.
func (c *copier) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var object corev1.ConfigMap
	if err := c.Get(ctx, request.NamespacedName, &object); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !object.DeletionTimestamp.IsZero() {
		// What was made for it goes first; the finalizer says that this was done.
		duplicate := corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "copy-of-" + object.Name, Namespace: object.Namespace}}
		if err := client.IgnoreNotFound(c.Delete(ctx, &duplicate)); err != nil {
			return ctrl.Result{}, err
		}
		if controllerutil.RemoveFinalizer(&object, finalizer) {
			return ctrl.Result{}, client.IgnoreNotFound(c.Update(ctx, &object))
		}
		return ctrl.Result{}, nil
	}
	patch := client.MergeFrom(object.DeepCopy())
	if controllerutil.AddFinalizer(&object, finalizer) {
		if err := c.Patch(ctx, &object, patch); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
	}
	duplicate := corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "copy-of-" + object.Name, Namespace: object.Namespace}}
	_, err := controllerutil.CreateOrUpdate(ctx, c.Client, &duplicate, func() error {
		duplicate.StringData = object.Data
		duplicate.Labels = map[string]string{"life": object.Data[life], "version": object.Data[version]}
		return controllerutil.SetControllerReference(&object, &duplicate, c.Scheme())
	})
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return ctrl.Result{RequeueAfter: 10 * time.Millisecond}, nil
	}
	if err == nil {
		c.done.Add(1)
	}
	return ctrl.Result{}, err
}

// runReconciler has a controller with leader election copy what is written; in the end all copies must be up to date.
func runReconciler(ctx context.Context, config *rest.Config, namespace string, length time.Duration) (string, error) {
	log.SetLogger(logr.Discard())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Cache:                   cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}},
		Metrics:                 server.Options{BindAddress: "0"},
		LeaderElection:          true,
		LeaderElectionID:        "copier",
		LeaderElectionNamespace: namespace,
	})
	if err != nil {
		return "", err
	}
	var done atomic.Int64
	labelled, err := predicate.LabelSelectorPredicate(metav1.LabelSelector{MatchLabels: map[string]string{source: "yes"}})
	if err != nil {
		return "", err
	}
	err = ctrl.NewControllerManagedBy(manager).For(&corev1.ConfigMap{}).WithEventFilter(labelled).
		Complete(&copier{Client: manager.GetClient(), done: &done})
	if err != nil {
		return "", err
	}
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(ctx) }()

	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", err
	}
	changes, err := patchAll(ctx, clientset, namespace, length)
	if err != nil {
		return "", err
	}
	giveUp := time.Now().Add(patience)
	for {
		err := copiesAreRight(ctx, clientset, namespace)
		if err == nil {
			return fmt.Sprintf("reconciler: %d changes, %d reconciliations, all copies up to date", changes, done.Load()), nil
		}
		select {
		case ended := <-ended:
			return "", fmt.Errorf("the manager ended: %w", ended)
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(giveUp) {
			return "", err
		}
	}
}

// patchAll writes like writeAll, but by server-side apply, since the controller writes to the same objects.
func patchAll(ctx context.Context, clientset kubernetes.Interface, namespace string, length time.Duration) (int, error) {
	api := clientset.CoreV1().ConfigMaps(namespace)
	deadline := time.Now().Add(length)
	changes := 0
	for l := 1; ; l++ {
		for v := 1; v <= lifetime; v++ {
			for n := range writers {
				if err := applyOne(ctx, api, fmt.Sprintf("source-%d", n), l, v); err != nil {
					return changes, err
				}
				changes++
			}
			time.Sleep(pause)
		}
		if time.Now().After(deadline) {
			return changes, nil
		}
		for n := range writers {
			w := writer{api: api, name: fmt.Sprintf("source-%d", n), changes: new(atomic.Int64)}
			if err := w.remove(ctx); err != nil {
				return changes, fmt.Errorf("%s: %w", w.name, err)
			}
			changes++
		}
	}
}

func copiesAreRight(ctx context.Context, clientset kubernetes.Interface, namespace string) error {
	for n := range writers {
		name := fmt.Sprintf("source-%d", n)
		original, err := clientset.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		duplicate, err := clientset.CoreV1().Secrets(namespace).Get(ctx, "copy-of-"+name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !metav1.IsControlledBy(duplicate, original) {
			return fmt.Errorf("the copy of %s belongs to an earlier life", name)
		}
		for key, value := range original.Data {
			if string(duplicate.Data[key]) != value {
				return fmt.Errorf("the copy of %s has %s %q, not %q", name, key, duplicate.Data[key], value)
			}
		}
	}
	return nil
}
