// The oracle for patches and apply: answers questions, one JSON document a line, by Kubernetes' own libraries.
// It decides nothing itself. `cargo xtask oracle-merge` asks it and compares.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

type question struct {
	Op          string          `json:"op"`
	APIVersion  string          `json:"apiVersion"`
	Kind        string          `json:"kind"`
	Subresource string          `json:"subresource"`
	Reset       [][]string      `json:"reset"`
	Manager     string          `json:"manager"`
	Force       bool            `json:"force"`
	Old         json.RawMessage `json:"old"`
	New         json.RawMessage `json:"new"`
}

type answer struct {
	// Value is the result as the library has it.
	Value any `json:"value,omitempty"`
	// Next is the same once it has been through the Go type, as a server would store it.
	Next   any                  `json:"next,omitempty"`
	Error  string               `json:"error,omitempty"`
	Causes []metav1.StatusCause `json:"causes,omitempty"`
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 64<<20)
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	for in.Scan() {
		var q question
		if err := json.Unmarshal(in.Bytes(), &q); err != nil {
			fmt.Fprintln(os.Stderr, "bad question:", err)
			os.Exit(1)
		}
		if err := encoder.Encode(reply(q)); err != nil {
			os.Exit(1)
		}
		out.Flush()
	}
}

func reply(q question) (a answer) {
	defer func() {
		if problem := recover(); problem != nil {
			a = answer{Error: fmt.Sprintf("panic: %v", problem)}
		}
	}()
	gvk := schema.FromAPIVersionAndKind(q.APIVersion, q.Kind)
	switch q.Op {
	case "strategic":
		return patched(gvk, strategicpatch.StrategicMergeMapPatch, q)
	case "diff":
		diff := func(old, new strategicpatch.JSONMap, kind any) (strategicpatch.JSONMap, error) {
			return strategicpatch.CreateTwoWayMergeMapPatch(old, new, kind)
		}
		return patched(gvk, diff, q)
	case "apply", "update":
		return write(gvk, q)
	}
	return answer{Error: "unknown question"}
}

type patcher func(old, new strategicpatch.JSONMap, kind any) (strategicpatch.JSONMap, error)

func patched(gvk schema.GroupVersionKind, patch patcher, q question) answer {
	kind, err := scheme.Scheme.New(gvk)
	if err != nil {
		return failure(err)
	}
	value, err := patch(tree(q.Old), tree(q.New), kind)
	if err != nil {
		return failure(err)
	}
	return answer{Value: value}
}

func tree(raw json.RawMessage) map[string]any {
	value := map[string]any{}
	if err := utiljson.Unmarshal(raw, &value); err != nil {
		panic(err)
	}
	return value
}

func failure(err error) answer {
	a := answer{Error: err.Error()}
	var status *apierrors.StatusError
	if errors.As(err, &status) && status.ErrStatus.Details != nil {
		a.Causes = status.ErrStatus.Details.Causes
	}
	return a
}

// write applies to or updates an object; one that isn't there yet is the empty one of its type.
func write(gvk schema.GroupVersionKind, q question) answer {
	var filter map[fieldpath.APIVersion]fieldpath.Filter
	if len(q.Reset) > 0 {
		set := fieldpath.NewSet()
		for _, path := range q.Reset {
			parts := make([]any, len(path))
			for i, part := range path {
				parts[i] = part
			}
			set.Insert(fieldpath.MakePathOrDie(parts...))
		}
		filter = fieldpath.NewExcludeFilterSetMap(map[fieldpath.APIVersion]*fieldpath.Set{
			fieldpath.APIVersion(q.APIVersion): set,
		})
	}
	manager, err := managedfields.NewDefaultFieldManager(
		applyconfigurations.NewTypeConverter(scheme.Scheme), convertor{}, defaulter{}, creater{},
		gvk, gvk.GroupVersion(), q.Subresource, filter)
	if err != nil {
		return failure(err)
	}
	live, err := creater{}.New(gvk)
	if err != nil {
		return failure(err)
	}
	if len(q.Old) > 0 && string(q.Old) != "null" {
		live = &unstructured.Unstructured{Object: tree(q.Old)}
	}
	var next runtime.Object
	object := &unstructured.Unstructured{Object: tree(q.New)}
	if q.Op == "apply" {
		next, err = manager.Apply(live, object, q.Manager, q.Force)
	} else {
		next, err = manager.Update(live, object, q.Manager)
	}
	if err != nil {
		return failure(err)
	}
	value := next.(*unstructured.Unstructured).Object
	stored, err := typed(gvk, runtime.DeepCopyJSON(value))
	if err != nil {
		return answer{Value: value}
	}
	return answer{Value: value, Next: stored}
}

// typed puts an object through its Go type.
func typed(gvk schema.GroupVersionKind, value map[string]any) (map[string]any, error) {
	object, err := scheme.Scheme.New(gvk)
	if err != nil {
		return nil, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(value, object); err != nil {
		return nil, err
	}
	object.GetObjectKind().SetGroupVersionKind(gvk)
	return runtime.DefaultUnstructuredConverter.ToUnstructured(object)
}

// There is one version of each kind here, and nothing to default.
type convertor struct{}

func (convertor) Convert(in, out, context any) error { return errors.New("not here") }

func (convertor) ConvertToVersion(in runtime.Object, _ runtime.GroupVersioner) (runtime.Object, error) {
	return in, nil
}

func (convertor) ConvertFieldLabel(gvk schema.GroupVersionKind, label, value string) (string, string, error) {
	return "", "", errors.New("not here")
}

type defaulter struct{}

func (defaulter) Default(runtime.Object) {}

type creater struct{}

func (creater) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	value, err := typed(gvk, map[string]any{})
	return &unstructured.Unstructured{Object: value}, err
}
