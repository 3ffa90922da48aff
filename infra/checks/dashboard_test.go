package checks

import (
	"fmt"
	"strings"
	"testing"
)

const dashboardFile = "infra/helm/monitoring/dashboard.json"

// What Grafana puts in the place of its variables.
var variables = strings.NewReplacer("$__rate_interval", "1m", "$namespace", ".*")

func TestTheDashboardAsksForMetricsThatTheServicesHave(t *testing.T) {
	dashboard := parsed(t, dashboardFile, read(t, dashboardFile))
	known, ids, expressions := exported(t), map[string]bool{}, 0
	for _, panel := range list(dashboard, "panels") {
		title, id := fmt.Sprint(panel["title"]), fmt.Sprint(panel["id"])
		if ids[id] {
			t.Errorf("two panels have the id %s", id)
		}
		ids[id] = true
		for _, target := range list(panel, "targets") {
			expression, _ := target["expr"].(string)
			expressions++
			for _, used := range metricsOf(t, title, variables.Replace(expression)) {
				if !known[used] {
					t.Errorf("%s: no service has the metric %s", title, used)
				}
			}
		}
	}
	if expressions < 20 {
		t.Errorf("only %d expressions were found", expressions)
	}
}

// Compose starts what these files describe; a path that is wrong shows nothing.
func TestComposeStartsPrometheusAndGrafanaWithTheseFiles(t *testing.T) {
	compose := parsed(t, "compose.yaml", read(t, "infra/compose.yaml"))
	for service, expected := range map[string][]string{
		"prometheus": {"monitoring/prometheus.yaml:/etc/", "./helm/monitoring/alerts.yaml:/etc/prometheus/alerts.yaml"},
		"grafana":    {"monitoring/grafana-datasource.yaml:/etc/grafana/provisioning/datasources/", "./monitoring/grafana-dashboards.yaml:/etc/grafana/provisioning/dashboards/", "./helm/monitoring/dashboard.json:/etc/grafana/dashboards/"},
	} {
		its := fmt.Sprint(at(compose, "services", service))
		for _, mount := range expected {
			if !strings.Contains(its, mount) {
				t.Errorf("compose.yaml: %s has no mount %s", service, mount)
			}
		}
		if !strings.Contains(its, "profiles:[monitoring]") {
			t.Errorf("compose.yaml: %s is started without being asked for", service)
		}
	}
	config := parsed(t, "prometheus.yaml", read(t, "infra/monitoring/prometheus.yaml"))
	if files := fmt.Sprint(config["rule_files"]); files != "[/etc/prometheus/alerts.yaml]" {
		t.Errorf("prometheus.yaml: rule_files is %s", files)
	}
	jobs := list(config, "scrape_configs")
	for _, job := range jobs {
		for _, targets := range list(job, "static_configs") {
			service := at(targets, "labels", "service")
			if job["job_name"] != "hubspot-streams" && at(targets, "labels", "job") != "hubspot-streams" {
				t.Errorf("prometheus.yaml: the alerts do not see %v", service)
			}
			if service != "worker" && service != "data-streams" {
				t.Errorf("prometheus.yaml: no alert is about the service %v", service)
			}
		}
	}
	if len(jobs) == 0 {
		t.Error("prometheus.yaml: nothing is read")
	}
	for _, file := range []string{"grafana-datasource.yaml", "grafana-dashboards.yaml"} {
		parsed(t, file, read(t, "infra/monitoring/"+file))
	}
}
