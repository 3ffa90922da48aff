package checks

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/rulefmt"
)

const (
	alertsFile = "infra/helm/monitoring/alerts.yaml"
	runbook    = "infra/alerts.md"
)

// alerts gives the rules, by name.
func alerts(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(filepath.Join(root, alertsFile), false, model.UTF8Validation, prometheus, promslog.NewNopLogger())
	for _, err := range errs {
		t.Error(err)
	}
	if len(errs) > 0 {
		t.FailNow()
	}
	found := map[string]rulefmt.Rule{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			if rule.Alert == "" {
				t.Errorf("%s: %s is no alert", alertsFile, rule.Record)
			}
			if _, twice := found[rule.Alert]; twice {
				t.Errorf("%s: %s is there twice", alertsFile, rule.Alert)
			}
			found[rule.Alert] = rule
		}
	}
	return found
}

func TestAlertsUseMetricsThatTheServicesHave(t *testing.T) {
	known := exported(t)
	for name, rule := range alerts(t) {
		for _, used := range metricsOf(t, name, rule.Expr) {
			if !known[used] {
				t.Errorf("%s: no service has the metric %s", name, used)
			}
		}
	}
}

var heading = regexp.MustCompile(`(?m)^## (\S+)\n\n(.+)`)

// Whoever is woken finds what to do.
func TestEachAlertHasItsParagraph(t *testing.T) {
	paragraphs := map[string]bool{}
	for _, found := range heading.FindAllStringSubmatch(read(t, runbook), -1) {
		paragraphs[found[1]] = true
	}
	all := alerts(t)
	for name, rule := range all {
		if !paragraphs[name] {
			t.Errorf("%s has no heading %s with a text below it", runbook, name)
		}
		if expected := runbook + "#" + strings.ToLower(name); rule.Annotations["runbook_url"] != expected {
			t.Errorf("%s: its runbook_url should be %s", name, expected)
		}
		if rule.Annotations["summary"] == "" {
			t.Errorf("%s has no summary", name)
		}
		if severity := rule.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s: its severity is critical or warning, not %q", name, severity)
		}
	}
	for name := range paragraphs {
		if _, isOne := all[name]; !isOne {
			t.Errorf("%s: there is no alert %s", runbook, name)
		}
	}
}

// What has to be the case for an alert, and a case like it in which all is well.
var cases = []struct{ alert, fires, silent string }{
	{"HubSpotStreamsWorkerAway",
		`up{job="hubspot-streams", service="worker"} 1x10 0x6
		 up{job="hubspot-streams", service="data-streams"} 1x20`,
		`up{job="hubspot-streams", service="worker", instance="a"} 0x20
		 up{job="hubspot-streams", service="worker", instance="b"} 1x20`},
	{"HubSpotStreamsDataStreamsAway",
		`up{job="another", service="data-streams"} 1x20`,
		`up{job="hubspot-streams", service="data-streams"} 0x15 1x4`},
	{"HubSpotStreamsInstanceAway",
		`up{job="hubspot-streams", service="worker"} 0x20`,
		`up{job="hubspot-streams", service="worker"} 0x14 1x4`},
	{"HubSpotStreamsPartitionsWithoutOwner",
		`worker_partitions{instance="a"} 4x100
		 worker_partitions{instance="b"} 4x90 0x9`,
		// For a moment both count partitions that one hands to the other.
		`worker_partitions{instance="a"} 8x50 8x1 4x49
		 worker_partitions{instance="b"} 0x50 8x1 4x49`},
	{"HubSpotStreamsHubSpotNotRead",
		`worker_hubspot_requests_total{outcome="ok"} 0+5x60 300x180
		 worker_hubspot_requests_total{outcome="failed"} 0+1x240`,
		`worker_hubspot_requests_total{outcome="ok"} 0x200 4x60`},
	{"HubSpotStreamsCredentialRefused",
		`data_streams_connection_error{connection="a", code="unauthorized"} 1x20
		 data_streams_connection_interval_seconds{connection="a"} 300x20`,
		// Another reason, and a connection that was stopped.
		`data_streams_connection_error{connection="a", code="portal_taken"} 1x20
		 data_streams_connection_interval_seconds{connection="a"} 300x20
		 data_streams_connection_error{connection="b", code="unauthorized"} 1x20`},
	{"HubSpotStreamsConnectionFails",
		`data_streams_connection_error{connection="a", code="portal_taken"} 1x20
		 data_streams_connection_interval_seconds{connection="a"} 300x20`,
		// A connection that was stopped, and one that runs.
		`data_streams_connection_error{connection="a", code="portal_taken"} 1x20
		 data_streams_connection_interval_seconds{connection="b"} 300x20`},
	{"HubSpotStreamsStreamFails",
		`data_streams_stream_error{connection="a", stream="deals", code="missing_scope"} 1x90
		 data_streams_connection_interval_seconds{connection="a"} 300x90`,
		`data_streams_stream_error{connection="a", stream="deals", code="daily_limit"} 1x90
		 data_streams_stream_error{connection="a", stream="deals", code="missing_scope"} 1x30
		 data_streams_connection_interval_seconds{connection="a"} 300x90`},
	{"HubSpotStreamsStreamStale",
		`data_streams_stream_cursor_timestamp_seconds{connection="a", stream="deals"} 1767306600x90
		 data_streams_stream_cursor_timestamp_seconds{connection="a", stream="contacts"} 1767306600+60x90
		 data_streams_connection_interval_seconds{connection="a"} 300x90`,
		// One with a long interval, and one that was stopped.
		`data_streams_stream_cursor_timestamp_seconds{connection="a", stream="deals"} 1767306600x90
		 data_streams_connection_interval_seconds{connection="a"} 3600x90
		 data_streams_stream_cursor_timestamp_seconds{connection="b", stream="deals"} 1767306600x90`},
	{"HubSpotStreamsRecordsDiffer",
		`data_streams_stream_different_records{connection="a", stream="deals"} 3x200`,
		`data_streams_stream_different_records{connection="a", stream="deals"} 3x100 0x100`},
	{"HubSpotStreamsHubSpotFails",
		`worker_hubspot_requests_total{outcome="ok"} 0+10x60
		 worker_hubspot_requests_total{outcome="failed"} 0+2x60
		 worker_hubspot_requests_total{outcome="no_answer"} 0+2x60`,
		`worker_hubspot_requests_total{outcome="ok"} 0+10x60
		 worker_hubspot_requests_total{outcome="refused"} 0+9x60
		 worker_hubspot_requests_total{outcome="failed"} 0+1x60`},
	{"HubSpotStreamsRateLimited",
		`worker_hubspot_requests_total{outcome="ok"} 0+10x90
		 worker_hubspot_requests_total{outcome="rate_limited"} 0+1x90`,
		`worker_hubspot_requests_total{outcome="ok"} 0+100x90
		 worker_hubspot_requests_total{outcome="rate_limited"} 0+1x90`},
	{"HubSpotStreamsWorkerWritesNothing",
		`worker_hubspot_requests_total{outcome="ok"} 0+1x90
		 worker_transactions_total 0+1x30 30x60`,
		`worker_hubspot_requests_total{outcome="ok"} 0+1x90
		 worker_transactions_total 0+1x90`},
	{"HubSpotStreamsTransactionsAborted",
		`worker_transactions_total 0+8x60
		 worker_transactions_aborted_total 0+1x60`,
		`worker_transactions_total 0+100x60
		 worker_transactions_aborted_total 0+1x60`},
	{"HubSpotStreamsRecordsToDeadLetters",
		`worker_dead_letters_total 1x10`,
		`worker_dead_letters_total 7x90`},
	{"HubSpotStreamsMessagesToDeadLetters",
		`data_streams_ingest_poison_total{reason="undecodable"} 4x80 5x10`,
		`data_streams_ingest_poison_total{reason="undecodable"} 4x90`},
	{"HubSpotStreamsClickHouseFails",
		`data_streams_ingest_retries_total{kind="unavailable"} 0+3x40`,
		`data_streams_ingest_retries_total{kind="schema_changed"} 0+3x40
		 data_streams_ingest_retries_total{kind="unavailable"} 7x40`},
	{"HubSpotStreamsTargetsWait",
		`data_streams_ingest_waiting_targets 1x20`,
		`data_streams_ingest_waiting_targets 1x10 0 1x10`},
	{"HubSpotStreamsSchemaMissing",
		`data_streams_ingest_holds_total 0+1x60`,
		`data_streams_ingest_holds_total 0+1x20 20x40`},
	{"HubSpotStreamsNothingLoaded",
		`worker_records_total 0+100x60
		 data_streams_ingest_batches_total 0+1x20 20x40`,
		`worker_records_total 0+100x60
		 data_streams_ingest_batches_total 0+1x60`},
	{"HubSpotStreamsLoadedLate",
		`data_streams_ingest_freshness_seconds_bucket{le="30"} 0+1x90
		 data_streams_ingest_freshness_seconds_count 0+3x90`,
		`data_streams_ingest_freshness_seconds_bucket{le="30"} 0+3x90
		 data_streams_ingest_freshness_seconds_count 0+3x90`},
	{"HubSpotStreamsApiFails",
		`api_requests_total{job="hubspot-streams", route="/v1/connections", status="200"} 0+10x40
		 api_requests_total{job="hubspot-streams", route="/v1/connections", status="503"} 0+1x40`,
		`api_requests_total{job="hubspot-streams", route="/v1/connections", status="200"} 0+10x40
		 api_requests_total{job="hubspot-streams", route="/v1/connections", status="404"} 0+10x40
		 api_requests_total{job="hubspot-streams", route="/health/ready", status="503"} 0+10x40`},
	{"HubSpotStreamsApiSlow",
		`api_request_duration_seconds_bucket{job="hubspot-streams", method="GET", route="/v1/connections", le="2"} 0+1x60
		 api_request_duration_seconds_bucket{job="hubspot-streams", method="GET", route="/v1/connections", le="5"} 0+9x60
		 api_request_duration_seconds_bucket{job="hubspot-streams", method="GET", route="/v1/connections", le="+Inf"} 0+9x60`,
		`api_request_duration_seconds_bucket{job="hubspot-streams", method="GET", route="/v1/connections", le="2"} 0+9x60
		 api_request_duration_seconds_bucket{job="hubspot-streams", method="GET", route="/v1/connections", le="+Inf"} 0+9x60
		 api_request_duration_seconds_bucket{job="hubspot-streams", method="POST", route="/v1/connections/{name}/stop", le="2"} 0+0x60
		 api_request_duration_seconds_bucket{job="hubspot-streams", method="POST", route="/v1/connections/{name}/stop", le="+Inf"} 0+9x60`},
	{"HubSpotStreamsApiOverrun",
		`api_requests_total{job="hubspot-streams", status="429"} 0+12x40`,
		`api_requests_total{job="hubspot-streams", status="429"} 0+1x40`},
}

func TestAlertsFireWhenTheyShould(t *testing.T) {
	all := alerts(t)
	for _, it := range cases {
		rule, isOne := all[it.alert]
		if !isOne {
			t.Errorf("there is no alert %s", it.alert)
			continue
		}
		delete(all, it.alert)
		lasting := time.Duration(rule.For)
		if !load(t, it.fires).holds(t, rule.Expr, lasting) {
			t.Errorf("%s does not fire", it.alert)
		}
		if load(t, it.silent).holds(t, rule.Expr, lasting) {
			t.Errorf("%s fires where all is well", it.alert)
		}
	}
	for name := range all {
		t.Errorf("%s has no case", name)
	}
}
