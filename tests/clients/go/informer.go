package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// runInformer writes through one client and follows in two ways. A watch that is resumed by revision must be told of each
// change once and in order, whatever happens to the server. A shared informer lists anew when its connection breaks, so
// it may skip versions, but never go back, and in the end it must have what the server has.
func runInformer(ctx context.Context, config *rest.Config, namespace string, length time.Duration) (string, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))
	informer := factory.Core().V1().ConfigMaps()
	informed := &handler{sightings: newSightings()}
	if _, err := informer.Informer().AddEventHandler(informed); err != nil {
		return "", err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	watched, err := follow(ctx, client, namespace)
	if err != nil {
		return "", err
	}

	changes, err := writeAll(ctx, client.CoreV1().ConfigMaps(namespace), nil, length)
	if err != nil {
		return "", err
	}
	lister := informer.Lister().ConfigMaps(namespace).List
	for giveUp := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		differs := sameAsListed(ctx, client, lister, namespace)
		if watched.count() == changes && differs == nil {
			break
		}
		if time.Now().After(giveUp) {
			return "", errors.Join(watched.failed(), differs, fmt.Errorf("%d changes were made, the watch told %d", changes, watched.count()))
		}
	}
	if err := errors.Join(watched.failed(), informed.failed()); err != nil {
		return "", err
	}
	return fmt.Sprintf("informer: %d changes, each watched once and in order; the informer was told of %d and has the same objects", changes, informed.count()), nil
}

// follow watches from now on and resumes by revision when the connection breaks.
func follow(ctx context.Context, client kubernetes.Interface, namespace string) (*sightings, error) {
	api := client.CoreV1().ConfigMaps(namespace)
	list, err := api.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	watcher, err := watchtools.NewRetryWatcherWithContext(ctx, list.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return api.Watch(ctx, options)
		},
	})
	if err != nil {
		return nil, err
	}
	seen := newSightings()
	go func() {
		for event := range watcher.ResultChan() {
			if configMap, ok := event.Object.(*corev1.ConfigMap); ok {
				seen.exactly(event.Type, configMap)
			} else {
				seen.fail(fmt.Errorf("the watch was told %v", apierrors.FromObject(event.Object)))
			}
		}
	}()
	return seen, nil
}

// sightings are what a follower was told, checked against what must come next.
type sightings struct {
	sync.Mutex
	last map[string][2]int
	told int64
	errs []error
}

func newSightings() *sightings { return &sightings{last: map[string][2]int{}} }

func (s *sightings) count() int64 {
	s.Lock()
	defer s.Unlock()
	return s.told
}

func (s *sightings) failed() error {
	s.Lock()
	defer s.Unlock()
	return errors.Join(s.errs...)
}

func (s *sightings) fail(err error) {
	s.Lock()
	defer s.Unlock()
	s.errs = append(s.errs, err)
}

// next notes what was told of an object if may says that it can follow on what was told before.
func (s *sightings) next(what any, object *corev1.ConfigMap, may func(l, v, wasL, wasV int) bool) {
	if object.Data[life] == "" {
		return // not one of ours
	}
	s.Lock()
	defer s.Unlock()
	was := s.last[object.Name]
	l, v := marks(object)
	if !may(l, v, was[0], was[1]) {
		s.errs = append(s.errs, fmt.Errorf("%v of %s: version %d of life %d after version %d of life %d", what, object.Name, v, l, was[1], was[0]))
	}
	s.last[object.Name] = [2]int{l, v}
	s.told++
}

// exactly accepts only the one event that can come next.
func (s *sightings) exactly(kind watch.EventType, object *corev1.ConfigMap) {
	s.next(kind, object, func(l, v, wasL, wasV int) bool {
		switch kind {
		case watch.Added:
			return l == wasL+1 && v == 1 && (wasV == lifetime || wasL == 0)
		case watch.Modified:
			return l == wasL && v == wasV+1
		case watch.Deleted:
			return l == wasL && v == wasV && v == lifetime
		default:
			return false
		}
	})
}

// handler is told by an informer.
type handler struct{ *sightings }

// OnAdd implements cache.ResourceEventHandler.
func (h *handler) OnAdd(object any, _ bool) {
	h.next("addition", object.(*corev1.ConfigMap), func(l, _, wasL, _ int) bool { return l > wasL })
}

// OnUpdate implements cache.ResourceEventHandler.
func (h *handler) OnUpdate(_, object any) {
	h.next("update", object.(*corev1.ConfigMap), func(l, v, wasL, wasV int) bool {
		return l > wasL || l == wasL && v > wasV
	})
}

// OnDelete implements cache.ResourceEventHandler.
func (h *handler) OnDelete(object any) {
	// The last state of an object whose deletion fell into a gap is not known; that it is gone is.
	if configMap, ok := object.(*corev1.ConfigMap); ok {
		h.next("deletion", configMap, func(l, v, wasL, wasV int) bool { return l == wasL && v >= wasV })
	}
}

// sameAsListed compares an informer's cache with what the server has.
func sameAsListed(ctx context.Context, client kubernetes.Interface, cached func(labels.Selector) ([]*corev1.ConfigMap, error), namespace string) error {
	list, err := client.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	objects, err := cached(labels.Everything())
	if err != nil {
		return err
	}
	if len(objects) != len(list.Items) {
		return fmt.Errorf("the cache has %d objects, the server %d", len(objects), len(list.Items))
	}
	versions := map[string]string{}
	for _, object := range objects {
		versions[object.Name] = object.ResourceVersion
	}
	for _, object := range list.Items {
		if versions[object.Name] != object.ResourceVersion {
			return fmt.Errorf("the cache has %s in version %s, the server in %s", object.Name, versions[object.Name], object.ResourceVersion)
		}
	}
	return nil
}
