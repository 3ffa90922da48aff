// The checks of what is deployed: the chart, as Helm renders it, against Kubernetes'
// schemas; alerts and dashboard, as Prometheus parses them, against the metrics that the
// services have. `infra/native/stack checks` builds them once and runs them, as `make check` does.
package checks

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// The repository's root, as seen from this folder, in which the tests run.
const root = "../.."

// read gives the text of a file, by its path from the root.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// object is a value of YAML or JSON.
type object = map[string]any

// parsed gives what is in a YAML text. A name that is there twice is an error.
func parsed(t *testing.T, name, text string) object {
	t.Helper()
	var it object
	if err := yaml.UnmarshalStrict([]byte(text), &it); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return it
}

// at gives what is at a path of names in nested objects, or nil.
func at(value any, path ...string) any {
	for _, name := range path {
		it, isObject := value.(object)
		if !isObject {
			return nil
		}
		value = it[name]
	}
	return value
}

// list gives the objects of a list at a path; none where there is no list.
func list(value any, path ...string) []object {
	var found []object
	items, _ := at(value, path...).([]any)
	for _, item := range items {
		if it, isObject := item.(object); isObject {
			found = append(found, it)
		}
	}
	return found
}

// sources gives the texts of the services' sources in Rust, without their tests' files.
func sources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(filepath.Join(root, "services"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "tests" || entry.Name() == "target") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".rs" || entry.Name() == "tests.rs" {
			return nil
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

var (
	// A metric's name is a constant of its own, as dashboards rely on it.
	constant = regexp.MustCompile(`const ([A-Z_]+): (?:&str =|Measured =\s*Measured::\w+\()\s*"((?:worker|data_streams|api|health|service)_[a-z_]+)"`)
	use      = regexp.MustCompile(`\b(?:(?:gauge|counter|histogram)!|out\.add)\(\s*(?:\w+::)*([A-Z_]+)\b`)
)

// exported gives the names of the metrics that the services have. Histograms are those
// whose name ends in _seconds.
func exported(t *testing.T) map[string]bool {
	t.Helper()
	source, used := sources(t), map[string]bool{}
	for _, found := range use.FindAllStringSubmatch(source, -1) {
		used[found[1]] = true
	}
	names, named := map[string]bool{"up": true}, map[string]bool{}
	for _, found := range constant.FindAllStringSubmatch(source, -1) {
		if !used[found[1]] {
			continue
		}
		names[found[2]], named[found[1]] = true, true
		if strings.HasSuffix(found[2], "_seconds") {
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				names[found[2]+part] = true
			}
		}
	}
	for name := range used {
		if !named[name] {
			t.Errorf("the metric %s has no name that begins as those in %s", name, constant)
		}
	}
	if len(names) < 20 {
		t.Fatalf("only %d metrics were found in services/: are the expressions for them still right?", len(names))
	}
	return names
}
