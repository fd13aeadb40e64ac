// Command rules answers, one JSON line for each line of standard input, what Kubernetes' own code makes of an object:
// its defaults, what its strategy does to it on create and update, the errors it finds, its selectable fields and its
// table cells. It is a test tool only; nothing of it is in a build.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/capabilities"
	"k8s.io/kubernetes/pkg/printers"
	printersinternal "k8s.io/kubernetes/pkg/printers/internalversion"
)

type question struct {
	Op       string          `json:"op"`
	Resource string          `json:"resource"` // GROUP/PLURAL
	Object   json.RawMessage `json:"object"`
	Old      json.RawMessage `json:"old,omitempty"`
}

type answer struct {
	Failure string            `json:"failure,omitempty"`
	Object  json.RawMessage   `json:"object,omitempty"`
	Causes  []cause           `json:"causes,omitempty"`
	Fields  map[string]string `json:"fields,omitempty"`
	Columns []column          `json:"columns,omitempty"`
	Cells   [][]interface{}   `json:"cells,omitempty"`
	Now     string            `json:"now,omitempty"` // when the table was made: ages depend on it
}

type cause struct {
	Type    string `json:"type"`
	Field   string `json:"field"`
	Message string `json:"message"`
}

type column struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Format   string `json:"format"`
	Priority int32  `json:"priority"`
}

type both interface {
	rest.RESTCreateStrategy
	rest.RESTUpdateStrategy
}

type kind struct {
	strategy both
	status   rest.RESTUpdateStrategy
	subs     map[string]rest.RESTUpdateStrategy
	attrs    func(runtime.Object) (labels.Set, fields.Set, error)
}

func main() {
	capabilities.Setup(true, 0)
	tables := printers.NewTableGenerator().With(printersinternal.AddHandlers)
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 1<<20), 64<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for in.Scan() {
		var q question
		reply := answer{}
		if err := json.Unmarshal(in.Bytes(), &q); err != nil {
			reply.Failure = err.Error()
		} else {
			reply = protect(tables, q)
		}
		line, err := json.Marshal(reply)
		if err != nil {
			line, _ = json.Marshal(answer{Failure: err.Error()})
		}
		out.Write(line)
		out.WriteByte('\n')
		out.Flush()
	}
}

func protect(tables *printers.HumanReadableGenerator, q question) (reply answer) {
	defer func() {
		if p := recover(); p != nil {
			reply = answer{Failure: fmt.Sprint("panic: ", p)}
		}
	}()
	reply, err := ask(tables, q)
	if err != nil {
		reply.Failure = err.Error()
	}
	return reply
}

func ask(tables *printers.HumanReadableGenerator, q question) (answer, error) {
	decoder := legacyscheme.Codecs.UniversalDecoder()
	object, gvk, err := legacyscheme.Codecs.UniversalDeserializer().Decode(q.Object, nil, nil)
	if err != nil {
		return answer{}, err
	}
	gv := gvk.GroupVersion()
	if q.Op == "default" {
		legacyscheme.Scheme.Default(object)
		text, err := runtime.Encode(legacyscheme.Codecs.LegacyCodec(gv), object)
		return answer{Object: text}, err
	}
	object, err = runtime.Decode(decoder, q.Object)
	if err != nil {
		return answer{}, err
	}
	if q.Op == "table" {
		return table(tables, object)
	}
	k, ok := kinds[q.Resource]
	if !ok {
		return answer{}, fmt.Errorf("no strategy for %s", q.Resource)
	}
	accessor, err := meta.Accessor(object)
	if err != nil {
		return answer{}, err
	}
	ctx := genericapirequest.WithNamespace(context.Background(), accessor.GetNamespace())
	ctx = genericapirequest.WithUser(ctx, &user.DefaultInfo{Name: "alice", Groups: []string{"people"}})
	ctx = genericapirequest.WithRequestInfo(ctx, &genericapirequest.RequestInfo{APIGroup: gv.Group, APIVersion: gv.Version, Namespace: accessor.GetNamespace(), Name: accessor.GetName()})
	switch q.Op {
	case "create":
		err = rest.BeforeCreate(k.strategy, ctx, object)
	case "update", "status", "approval", "finalize", "ephemeralcontainers", "resize":
		old, e := runtime.Decode(decoder, q.Old)
		if e != nil {
			return answer{}, e
		}
		strategy := rest.RESTUpdateStrategy(k.strategy)
		if q.Op == "status" {
			if k.status == nil {
				return answer{}, fmt.Errorf("no status strategy for %s", q.Resource)
			}
			strategy = k.status
		}
		if sub, ok := k.subs[q.Op]; ok {
			strategy = sub
		}
		err = rest.BeforeUpdate(strategy, ctx, object, old)
	default:
		return answer{}, fmt.Errorf("unknown op %q", q.Op)
	}
	reply := answer{}
	if err != nil {
		status, ok := err.(*apierrors.StatusError)
		if !ok || status.ErrStatus.Details == nil || status.ErrStatus.Reason != metav1.StatusReasonInvalid {
			return reply, err
		}
		for _, c := range status.ErrStatus.Details.Causes {
			reply.Causes = append(reply.Causes, cause{string(c.Type), c.Field, c.Message})
		}
	}
	if reply.Object, err = runtime.Encode(legacyscheme.Codecs.LegacyCodec(gv), object); err != nil {
		return reply, err
	}
	// What is stored is read back with defaults.
	if object, err = runtime.Decode(decoder, reply.Object); err != nil {
		return reply, err
	}
	if reply.Object, err = runtime.Encode(legacyscheme.Codecs.LegacyCodec(gv), object); err != nil {
		return reply, err
	}
	if k.attrs != nil {
		_, set, err := k.attrs(object)
		if err != nil {
			return reply, err
		}
		reply.Fields = set
	}
	return reply, nil
}

func table(tables *printers.HumanReadableGenerator, object runtime.Object) (answer, error) {
	t, err := tables.GenerateTable(object, printers.GenerateOptions{Wide: true})
	if err != nil {
		return answer{}, err
	}
	reply := answer{Now: time.Now().UTC().Format(time.RFC3339)}
	for _, c := range t.ColumnDefinitions {
		reply.Columns = append(reply.Columns, column{c.Name, c.Type, c.Format, c.Priority})
	}
	for _, row := range t.Rows {
		reply.Cells = append(reply.Cells, row.Cells)
	}
	return reply, nil
}
