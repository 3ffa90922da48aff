package checks

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// Prints the alerts that fire at the end of a recording: series in promtool's notation, from
// services that a test has brought into trouble.
func TestAlertsOverARecording(t *testing.T) {
	file := os.Getenv("RECORDING")
	if file == "" {
		t.Skip("RECORDING names the file of a recording; a scenario makes one")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := alerts(t)
	used := map[string]bool{}
	for name, rule := range all {
		for _, metric := range metricsOf(t, name, rule.Expr) {
			used[metric] = true
		}
	}
	// The others would only be parsed.
	var lines []string
	for _, line := range strings.Split(string(text), "\n") {
		if name, _, isSeries := strings.Cut(line, "{"); isSeries && used[name] {
			lines = append(lines, line)
		}
	}
	recorded := load(t, strings.Join(lines, "\n"))
	for name, rule := range all {
		if recorded.holds(t, rule.Expr, time.Duration(rule.For)) {
			fmt.Printf("fires: %s\n", name)
		}
	}
}
