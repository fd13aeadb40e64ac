// Command types answers, one JSON line for each line of standard input after the first, what Kubernetes' own type checker
// says of an admission policy; the first line has what is served beside the built-in kinds' schemas. With the argument
// "kinds" it prints a digest of each built-in kind's declaration instead, and with "kind GROUP VERSION KIND" the
// declaration itself. It is a test tool only; nothing of it is in a build.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"sort"
	"strings"

	admission "k8s.io/api/admissionregistration/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/scheme"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	celopenapi "k8s.io/apiserver/pkg/cel/openapi"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kubernetes/pkg/generated/openapi"
)

// world is what the policies are checked against.
type world struct {
	Served []served `json:"served"`
	Types  []typed  `json:"types"`
}

// served is a resource that discovery has.
type served struct {
	Group    string `json:"group"`
	Version  string `json:"version"`
	Plural   string `json:"plural"`
	Singular string `json:"singular"`
	Kind     string `json:"kind"`
}

// typed is a kind that the OpenAPI document has beside those that are built in.
type typed struct {
	Group   string       `json:"group"`
	Version string       `json:"version"`
	Kind    string       `json:"kind"`
	Schema  *spec.Schema `json:"schema"`
}

type answer struct {
	Warnings []admission.ExpressionWarning `json:"warnings"`
}

// custom resolves what isn't built in.
type custom []typed

func (c custom) ResolveSchema(gvk schema.GroupVersionKind) (*spec.Schema, error) {
	for _, one := range c {
		if one.Group == gvk.Group && one.Version == gvk.Version && one.Kind == gvk.Kind {
			return one.Schema, nil
		}
	}
	return nil, resolver.ErrSchemaNotFound
}

func (w world) checker() *validating.TypeChecker {
	versions := map[schema.GroupVersion]*meta.DefaultRESTMapper{}
	mappers := meta.MultiRESTMapper{}
	for _, one := range w.Served {
		gv := schema.GroupVersion{Group: one.Group, Version: one.Version}
		if versions[gv] == nil {
			versions[gv] = meta.NewDefaultRESTMapper([]schema.GroupVersion{gv})
			mappers = append(mappers, versions[gv])
		}
		versions[gv].AddSpecific(gv.WithKind(one.Kind), gv.WithResource(one.Plural), gv.WithResource(one.Singular), meta.RESTScopeRoot)
	}
	return &validating.TypeChecker{
		SchemaResolver: resolver.NewDefinitionsSchemaResolver(openapi.GetOpenAPIDefinitions, scheme.Scheme, apiextensions.Scheme).Combine(custom(w.Types)),
		RestMapper:     mappers,
	}
}

func check(checker *validating.TypeChecker, policy *admission.ValidatingAdmissionPolicy) answer {
	warnings := checker.Check(policy)
	for i := range warnings {
		warnings[i].Warning = plain(warnings[i].Warning)
	}
	return answer{Warnings: warnings}
}

// numbered finds the names of types, which end with the nanosecond of their making.
var numbered = regexp.MustCompile(`\b([A-Z][A-Za-z]+)[0-9]{3,9}\b`)

func plain(text string) string {
	return numbered.ReplaceAllString(text, "${1}#")
}

// tree writes a declaration, a line a type.
func tree(path string, t *apiservercel.DeclType, out *[]string) {
	switch {
	case t.IsObject():
		*out = append(*out, path+": object")
		for name, field := range t.Fields {
			tree(path+"."+name, field.Type, out)
		}
	case t.IsMap():
		*out = append(*out, path+": map")
		tree(path+".@elem", t.ElemType, out)
	case t.IsList():
		*out = append(*out, path+": list")
		tree(path+".@idx", t.ElemType, out)
	default:
		*out = append(*out, path+": "+t.TypeName())
	}
}

func declared(r resolver.SchemaResolver, gvk schema.GroupVersionKind) []string {
	s, err := r.ResolveSchema(gvk)
	if err != nil {
		return []string{err.Error()}
	}
	t := common.SchemaDeclType(&celopenapi.Schema{Schema: s}, true)
	if t == nil {
		return []string{"none"}
	}
	var lines []string
	tree("", t, &lines)
	sort.Strings(lines)
	return lines
}

func main() {
	r := resolver.NewDefinitionsSchemaResolver(openapi.GetOpenAPIDefinitions, scheme.Scheme, apiextensions.Scheme)
	if len(os.Args) == 5 && os.Args[1] == "kind" {
		gvk := schema.GroupVersionKind{Group: os.Args[2], Version: os.Args[3], Kind: os.Args[4]}
		fmt.Println(strings.Join(declared(r, gvk), "\n"))
		return
	}
	if len(os.Args) == 2 && os.Args[1] == "kinds" {
		var all []string
		for gvk := range kinds() {
			lines := declared(r, gvk)
			digest := sha256.Sum256([]byte(strings.Join(lines, "\n")))
			all = append(all, fmt.Sprintf("%s/%s/%s\t%d\t%x", gvk.Group, gvk.Version, gvk.Kind, len(lines), digest[:8]))
		}
		sort.Strings(all)
		fmt.Println(strings.Join(all, "\n"))
		return
	}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<24)
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	var checker *validating.TypeChecker
	for in.Scan() {
		var w world
		var policy admission.ValidatingAdmissionPolicy
		if checker == nil {
			must(json.Unmarshal(in.Bytes(), &w))
			checker = w.checker()
			continue
		}
		must(json.Unmarshal(in.Bytes(), &policy))
		must(out.Encode(check(checker, &policy)))
	}
	must(in.Err())
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// kinds are those that the schemes know, without their lists and options.
func kinds() map[schema.GroupVersionKind]bool {
	all := map[schema.GroupVersionKind]bool{}
	for gvk := range scheme.Scheme.AllKnownTypes() {
		all[gvk] = true
	}
	for gvk := range apiextensions.Scheme.AllKnownTypes() {
		all[gvk] = true
	}
	for gvk := range all {
		if strings.HasSuffix(gvk.Kind, "List") || strings.HasSuffix(gvk.Kind, "Options") || gvk.Kind == "WatchEvent" {
			delete(all, gvk)
		}
	}
	return all
}
