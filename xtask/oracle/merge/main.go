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
	"k8s.io/apimachinery/pkg/api/meta"
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
	Old         json.RawMessage `json:"old"`
	New         json.RawMessage `json:"new"`
	Steps       []step          `json:"steps"`
}

type step struct {
	Op      string          `json:"op"`
	Manager string          `json:"manager"`
	Force   bool            `json:"force"`
	Object  json.RawMessage `json:"object"`
}

type answer struct {
	Value  any                  `json:"value,omitempty"`
	Error  string               `json:"error,omitempty"`
	Causes []metav1.StatusCause `json:"causes,omitempty"`
	Steps  []answer             `json:"steps,omitempty"`
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
	case "session":
		return session(gvk, q)
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

// session runs writes one after the other on one object that starts out as nothing.
func session(gvk schema.GroupVersionKind, q question) answer {
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
	live, _ := creater{}.New(gvk)
	var a answer
	for _, step := range q.Steps {
		object := &unstructured.Unstructured{Object: tree(step.Object)}
		var next runtime.Object
		var err error
		if step.Op == "apply" {
			next, err = manager.Apply(live.DeepCopyObject(), object, step.Manager, step.Force)
		} else {
			next, err = manager.Update(live.DeepCopyObject(), object, step.Manager)
		}
		if err != nil {
			a.Steps = append(a.Steps, failure(err))
			continue
		}
		accessor, _ := meta.Accessor(next)
		if accessor.GetUID() == "" {
			accessor.SetUID("some-uid")
		}
		live = next
		a.Steps = append(a.Steps, answer{Value: live.DeepCopyObject().(*unstructured.Unstructured).Object})
	}
	return a
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
	object := &unstructured.Unstructured{Object: map[string]any{}}
	object.SetGroupVersionKind(gvk)
	return object, nil
}
