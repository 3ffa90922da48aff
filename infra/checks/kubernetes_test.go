package checks

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"
)

// schemas are those of Kubernetes' own objects, by version and kind.
type schemas map[string]*jsonschema.Schema

// kubernetes reads the schemas that `infra/native/stack checks` has taken from Kubernetes' sources.
func kubernetes(t *testing.T) schemas {
	t.Helper()
	folder := os.Getenv("KUBERNETES_SCHEMAS")
	files, err := filepath.Glob(filepath.Join(folder, "*_openapi.json"))
	if folder == "" || err != nil || len(files) == 0 {
		t.Fatal("KUBERNETES_SCHEMAS names no folder with schemas: run infra/native/stack checks")
	}
	found := schemas{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		allowOnlyWhatIsNamed(document)
		compiler := jsonschema.NewCompiler()
		url := "file:///" + filepath.Base(file)
		if err := compiler.AddResource(url, document); err != nil {
			t.Fatal(err)
		}
		definitions, _ := at(document, "components", "schemas").(object)
		for name, definition := range definitions {
			for _, kind := range list(definition, "x-kubernetes-group-version-kind") {
				version := strings.TrimPrefix(kind["group"].(string)+"/"+kind["version"].(string), "/")
				schema, err := compiler.Compile(url + "#/components/schemas/" + name)
				if err != nil {
					t.Fatal(err)
				}
				found[version+" "+kind["kind"].(string)] = schema
			}
		}
	}
	return found
}

// allowOnlyWhatIsNamed makes a schema refuse fields that it does not name, which
// Kubernetes would drop or refuse.
func allowOnlyWhatIsNamed(value any) {
	switch it := value.(type) {
	case object:
		_, names := it["properties"].(object)
		if _, says := it["additionalProperties"]; names && !says {
			it["additionalProperties"] = false
		}
		for _, inner := range it {
			allowOnlyWhatIsNamed(inner)
		}
	case []any:
		for _, inner := range it {
			allowOnlyWhatIsNamed(inner)
		}
	}
}

// check gives what is wrong with an object.
func (its schemas) check(text string) error {
	var head struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal([]byte(text), &head); err != nil {
		return err
	}
	// The operator's types come as Go, not as a schema.
	switch head.APIVersion + " " + head.Kind {
	case "monitoring.coreos.com/v1 ServiceMonitor":
		return yaml.UnmarshalStrict([]byte(text), &monitoring.ServiceMonitor{})
	case "monitoring.coreos.com/v1 PrometheusRule":
		return yaml.UnmarshalStrict([]byte(text), &monitoring.PrometheusRule{})
	}
	schema := its[head.APIVersion+" "+head.Kind]
	if schema == nil {
		return &os.PathError{Op: "no schema for", Path: head.APIVersion + " " + head.Kind, Err: os.ErrNotExist}
	}
	json, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(json))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// The check itself: what Kubernetes would refuse or drop is found.
func TestWrongObjectsAreFound(t *testing.T) {
	its := kubernetes(t)
	right := "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: a}\nspec: {maxUnavailable: 1}\n"
	if err := its.check(right); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{
		strings.Replace(right, "maxUnavailable", "maxUnavailible", 1),
		strings.Replace(right, "1}", "[1]}", 1),
		strings.Replace(right, "policy/v1", "policy/v1beta1", 1),
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: 1}\n",
		"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{targetPort: http}]}\n",
		"apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nspec: {endpoint: []}\n",
	} {
		if its.check(wrong) == nil {
			t.Errorf("nothing is found to be wrong with:\n%s", wrong)
		}
	}
}
