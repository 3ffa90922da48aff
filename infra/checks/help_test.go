package checks

import (
	"regexp"
	"strings"
	"testing"
)

const symptoms = "infra/when-something-is-wrong.md"

var word = regexp.MustCompile("`([a-z]+(?:_[a-z]+)+)`")

// Codes, conditions, fields and metrics that a page names are in the source.
func TestTheHelpNamesWhatThereIs(t *testing.T) {
	source := sources(t)
	for _, page := range []string{runbook, symptoms, "infra/first-hour.md"} {
		for _, found := range word.FindAllStringSubmatch(read(t, page), -1) {
			if !strings.Contains(source, found[1]) && !strings.Contains(read(t, "schemas/avro/status.avsc"), found[1]) {
				t.Errorf("%s: nothing is named %s", page, found[1])
			}
		}
	}
}

// What `make up` says, as the page quotes it, with … for what differs each time.
func TestTheHelpQuotesWhatMakeUpSays(t *testing.T) {
	var scripts string
	for _, name := range []string{"first_sync.sh", "ports.sh", "compose.sh", "native/services.sh", "native/install.sh"} {
		scripts += read(t, "infra/"+name)
	}
	_, section, found := strings.Cut(read(t, symptoms), "\n## `make up` ends with an error\n")
	section, _, _ = strings.Cut(section, "\n## ")
	quotes := 0
	for _, row := range strings.Split(section, "\n| `")[1:] {
		cell, _, _ := strings.Cut(row, "` |")
		for _, quote := range strings.Split(cell, "`, `") {
			quotes++
			for _, part := range strings.Split(quote, "…") {
				if !strings.Contains(scripts, strings.TrimSpace(part)) {
					t.Errorf("no script says %q", part)
				}
			}
		}
	}
	if !found || quotes < 10 {
		t.Errorf("only %d quotes were found", quotes)
	}
}

// The list of metrics in the README is the list of those that there are.
func TestTheListOfMetricsIsComplete(t *testing.T) {
	listed := map[string]bool{}
	for _, found := range word.FindAllStringSubmatch(read(t, "infra/README.md"), -1) {
		listed[found[1]] = true
	}
	for name := range exported(t) {
		isPart := regexp.MustCompile(`_seconds_(bucket|sum|count)$`).MatchString(name)
		if !listed[name] && !isPart && name != "up" {
			t.Errorf("infra/README.md does not list the metric %s", name)
		}
	}
}

var (
	workersCode = regexp.MustCompile(`\bcode: "([a-z_]+)"`)
	apisCode    = regexp.MustCompile(`"([a-z]+(?:_[a-z]+)*)"`)
)

// Whoever meets an error finds it on the page.
func TestEachErrorCodeIsOnThePage(t *testing.T) {
	page := read(t, symptoms)
	_, table, _ := strings.Cut(read(t, "services/data-streams/src/api/error.rs"), "fn status_and_code(")
	table, _, _ = strings.Cut(table, "\n    }\n")
	found := workersCode.FindAllStringSubmatch(sources(t), -1)
	found = append(found, apisCode.FindAllStringSubmatch(table, -1)...)
	if len(found) < 40 {
		t.Errorf("only %d codes were found in services/: are the expressions for them still right?", len(found))
	}
	for _, code := range found {
		if !strings.Contains(page, "`"+code[1]+"`") {
			t.Errorf("%s does not have the code %s", symptoms, code[1])
		}
	}
}
