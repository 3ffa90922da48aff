package checks

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/yaml"
)

func helmChart(t *testing.T) *chart.Chart {
	t.Helper()
	it, err := loader.Load(filepath.Join(root, "infra/helm"))
	if err != nil {
		t.Fatal(err)
	}
	if err := it.Validate(); err != nil {
		t.Fatal(err)
	}
	return it
}

// rendered gives the texts of the objects that Helm would install.
func rendered(t *testing.T, values object) ([]string, error) {
	t.Helper()
	release := chartutil.ReleaseOptions{Name: "crm", Namespace: "data", IsInstall: true, Revision: 1}
	// Checks the values against values.schema.json.
	all, err := chartutil.ToRenderValues(helmChart(t), values, release, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Engine{Strict: true}.Render(helmChart(t), all)
	if err != nil {
		return nil, err
	}
	var texts []string
	for name, file := range files {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		for _, text := range strings.Split("\n"+file, "\n---") {
			if strings.TrimSpace(text) != "" {
				texts = append(texts, text)
			}
		}
	}
	sort.Strings(texts)
	return texts, nil
}

func example(t *testing.T, name string) object {
	t.Helper()
	return parsed(t, name, read(t, "infra/helm/examples/"+name+".yaml"))
}

// installed gives the objects of an example.
func installed(t *testing.T, name string) []object {
	t.Helper()
	texts, err := rendered(t, example(t, name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var objects []object
	for _, text := range texts {
		objects = append(objects, parsed(t, name, text))
	}
	return objects
}

var examples = []string{"minimal", "production", "everything"}

func TestWhatHelmRendersIsWhatKubernetesTakes(t *testing.T) {
	its := kubernetes(t)
	for _, name := range examples {
		texts, err := rendered(t, example(t, name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		seen := map[string]bool{}
		for _, text := range texts {
			// PRINT=minimal infra/native/stack checks shows what Helm makes of it.
			if os.Getenv("PRINT") == name {
				fmt.Println("---" + text)
			}
			if err := its.check(text); err != nil {
				t.Errorf("%s: %v\n%s", name, err, text)
			}
			it := parsed(t, name, text)
			id := fmt.Sprint(it["kind"], " ", at(it, "metadata", "name"))
			if seen[id] {
				t.Errorf("%s: %s is there twice", name, id)
			}
			seen[id] = true
		}
		t.Logf("%s: %d objects", name, len(texts))
	}
}

func TestWrongValuesAreRefused(t *testing.T) {
	const complete = `
settings: {KAFKA_BOOTSTRAP: "kafka:9092", REGISTRY_URL: "http://registry"}
dataStreams:
  settings: {CLICKHOUSE_URL: "http://clickhouse"}
  files: {API_TOKEN_FILE: {secret: api, key: token}}
`
	if _, err := rendered(t, parsed(t, "complete", complete)); err != nil {
		t.Fatal(err)
	}
	for _, it := range []struct{ from, to, says string }{
		{`KAFKA_BOOTSTRAP: "kafka:9092", `, ``, "KAFKA_BOOTSTRAP"},
		{`CLICKHOUSE_URL: "http://clickhouse"`, ``, "CLICKHOUSE_URL"},
		{`API_TOKEN_FILE: {secret: api, key: token}`, ``, "the API needs a token"},
		{`secret: api, key`, `secret: api, configMap: api, key`, "API_TOKEN_FILE"},
		{`dataStreams:`, `datastreams: {}` + "\ndataStreams:", "datastreams"},
		{`dataStreams:`, `dataStreams:` + "\n  replica: 2", "replica"},
		{`dataStreams:`, `dataStreams:` + "\n  replicas: 0", "replicas"},
		{`REGISTRY_URL`, `REPLICATION: 3, REGISTRY_URL`, "REPLICATION"},
		// A Secret is for those.
		{`REGISTRY_URL`, `KAFKA_PASSWORD: x, REGISTRY_URL`, "KAFKA_PASSWORD"},
		{`REGISTRY_URL`, `KAFKA_OAUTH_CLIENT_SECRET: x, REGISTRY_URL`, "KAFKA_OAUTH_CLIENT_SECRET"},
		// The chart decides these.
		{`REGISTRY_URL`, `ADMIN_ADDRESS: "x", REGISTRY_URL`, "ADMIN_ADDRESS"},
		{`dataStreams:`, "worker: {credentials: {secretName: a, claimName: b}}\ndataStreams:", "not both"},
	} {
		_, err := rendered(t, parsed(t, it.says, strings.Replace(complete, it.from, it.to, 1)))
		if err == nil || !strings.Contains(err.Error(), it.says) {
			t.Errorf("%s -> %s: refused with %v", it.from, it.to, err)
		}
	}
}

// A user who puts a variable's name wrong would not notice.
func TestTheSettingsInTheExamplesExist(t *testing.T) {
	fields := sources(t)
	check := func(name string) {
		field := regexp.MustCompile(`\b(pub|pub\(crate\)) ` + strings.ToLower(name) + `: `)
		isToken := strings.HasPrefix(name, "HUBSPOT_") && strings.HasSuffix(name, "_FILE")
		if !field.MatchString(fields) && !isToken {
			t.Errorf("no service has the setting %s", name)
		}
	}
	values := []object{parsed(t, "values.yaml", read(t, "infra/helm/values.yaml"))}
	for _, name := range examples {
		values = append(values, example(t, name))
	}
	for _, all := range values {
		for _, part := range []any{all, all["worker"], all["dataStreams"]} {
			for _, kind := range []string{"settings", "files"} {
				settings, _ := at(part, kind).(object)
				for name := range settings {
					check(name)
				}
			}
		}
	}
}

var version = regexp.MustCompile(`(?m)^version = "(.+)"$`)

func TestTheChartInstallsThisVersion(t *testing.T) {
	ours := version.FindStringSubmatch(read(t, "Cargo.toml"))
	its := helmChart(t).Metadata
	if ours == nil || its.AppVersion != ours[1] {
		t.Errorf("Chart.yaml: appVersion is %s, Cargo.toml has %v", its.AppVersion, ours)
	}
}

// Each value has its rule, and each rule its value.
func TestValuesAndTheirSchemaHaveTheSameNames(t *testing.T) {
	var schema object
	if err := yaml.Unmarshal([]byte(read(t, "infra/helm/values.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	var compare func(path string, values, rules any)
	compare = func(path string, values, rules any) {
		properties, isClosed := at(rules, "properties").(object)
		its, isObject := values.(object)
		if !isClosed || !isObject {
			return
		}
		for name := range properties {
			if _, isOne := its[name]; !isOne && name != "global" {
				t.Errorf("values.yaml lacks %s.%s", path, name)
			}
			compare(path+"."+name, its[name], properties[name])
		}
		for name := range its {
			if _, isOne := properties[name]; !isOne {
				t.Errorf("values.schema.json lacks %s.%s", path, name)
			}
		}
	}
	compare("", parsed(t, "values.yaml", read(t, "infra/helm/values.yaml")), schema)
}
