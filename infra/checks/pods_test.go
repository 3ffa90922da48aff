package checks

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// of gives the objects of a kind.
func of(kind string, objects []object) []object {
	var found []object
	for _, it := range objects {
		if it["kind"] == kind {
			found = append(found, it)
		}
	}
	return found
}

// selects says whether labels have all that a selector names.
func selects(selector, labels any) bool {
	wanted, _ := selector.(object)
	its, _ := labels.(object)
	for name, value := range wanted {
		if its[name] != value {
			return false
		}
	}
	return len(wanted) > 0
}

func name(it object) string { return fmt.Sprint(it["kind"], " ", at(it, "metadata", "name")) }

func pod(deployment object) any { return at(deployment, "spec", "template", "spec") }

func container(deployment object) object {
	return list(pod(deployment), "containers")[0]
}

func TestPodsHaveNoRightThatTheyDoNotNeed(t *testing.T) {
	for _, example := range examples {
		for _, deployment := range of("Deployment", installed(t, example)) {
			for place, expected := range map[string]any{
				"securityContext.runAsNonRoot":        true,
				"securityContext.seccompProfile.type": "RuntimeDefault",
				"automountServiceAccountToken":        false,
				"hostNetwork":                         nil,
			} {
				if got := at(pod(deployment), strings.Split(place, ".")...); got != expected {
					t.Errorf("%s: %s: %s is %v", example, name(deployment), place, got)
				}
			}
			for place, expected := range map[string]any{
				"readOnlyRootFilesystem":   true,
				"allowPrivilegeEscalation": false,
				"privileged":               nil,
			} {
				if got := at(container(deployment), "securityContext", place); got != expected {
					t.Errorf("%s: %s: %s is %v", example, name(deployment), place, got)
				}
			}
			if dropped := fmt.Sprint(at(container(deployment), "securityContext", "capabilities")); dropped != "map[drop:[ALL]]" {
				t.Errorf("%s: %s: capabilities: %s", example, name(deployment), dropped)
			}
		}
	}
}

// A Secret is referred to, or mounted; its value is in no object of the chart.
func TestSecretsAreFilesOrReferences(t *testing.T) {
	for _, deployment := range of("Deployment", installed(t, "production")) {
		mounts := map[string]string{}
		for _, mount := range list(container(deployment), "volumeMounts") {
			mounts[mount["name"].(string)] = mount["mountPath"].(string)
			if mount["subPath"] != nil {
				t.Errorf("%s: %v would keep an old Secret", name(deployment), mount)
			}
		}
		volumes := map[string]bool{}
		for _, volume := range list(pod(deployment), "volumes") {
			volumes[volume["name"].(string)] = true
			if mounts[volume["name"].(string)] == "" {
				t.Errorf("%s: %v is not mounted", name(deployment), volume["name"])
			}
		}
		files := 0
		for _, variable := range list(container(deployment), "env") {
			value, _ := variable["value"].(string)
			if !strings.HasSuffix(variable["name"].(string), "_FILE") {
				continue
			}
			files++
			volume := strings.ReplaceAll(strings.ToLower(variable["name"].(string)), "_", "-")
			if !volumes[volume] || !strings.HasPrefix(value, mounts[volume]+"/") {
				t.Errorf("%s: %v is in no volume", name(deployment), variable)
			}
		}
		if files < 2 {
			t.Errorf("%s has %d files", name(deployment), files)
		}
	}
}

// The API stays reachable while the loader waits for ClickHouse, and nothing is started
// again because a server is away.
func TestProbesTellTheApiFromTheLoader(t *testing.T) {
	for _, deployment := range of("Deployment", installed(t, "minimal")) {
		its := container(deployment)
		ready, live := "/health/ready", "/health/live"
		if its["name"] == "data-streams" {
			ready = "/health/ready/api"
		}
		ports := map[any]bool{}
		for _, port := range list(its, "ports") {
			ports[port["name"]] = true
		}
		for probe, path := range map[string]string{"readinessProbe": ready, "livenessProbe": live} {
			if got := at(its, probe, "httpGet", "path"); got != path {
				t.Errorf("%s: %s asks %v", name(deployment), probe, got)
			}
			if port := at(its, probe, "httpGet", "port"); !ports[port] {
				t.Errorf("%s: %s asks the port %v", name(deployment), probe, port)
			}
		}
	}
}

// What selects pods finds those of one service, and no others.
func TestSelectorsFindTheirPods(t *testing.T) {
	for _, example := range examples {
		objects := installed(t, example)
		deployments := of("Deployment", objects)
		if len(deployments) != 2 {
			t.Fatalf("%s: %d deployments", example, len(deployments))
		}
		found := func(selector any) (pods []object) {
			for _, it := range deployments {
				if selects(selector, at(it, "spec", "template", "metadata", "labels")) {
					pods = append(pods, it)
				}
			}
			return pods
		}
		paths := map[string][]string{
			"Deployment":          {"spec", "selector", "matchLabels"},
			"PodDisruptionBudget": {"spec", "selector", "matchLabels"},
			"Service":             {"spec", "selector"},
			"NetworkPolicy":       {"spec", "podSelector", "matchLabels"},
		}
		for kind, path := range paths {
			for _, it := range of(kind, objects) {
				pods := found(at(it, path...))
				if len(pods) != 1 {
					t.Errorf("%s: %s selects the pods of %d services", example, name(it), len(pods))
					continue
				}
				ports := map[any]bool{}
				for _, port := range list(container(pods[0]), "ports") {
					ports[port["name"]] = true
				}
				for _, port := range list(it, "spec", "ports") {
					if !ports[port["targetPort"]] {
						t.Errorf("%s: %s: no port is named %v", example, name(it), port["targetPort"])
					}
				}
			}
		}
		for _, monitor := range of("ServiceMonitor", objects) {
			services := 0
			for _, service := range of("Service", objects) {
				if selects(at(monitor, "spec", "selector", "matchLabels"), at(service, "metadata", "labels")) {
					services++
					if port := list(service, "spec", "ports")[0]["name"]; port != list(monitor, "spec", "endpoints")[0]["port"] {
						t.Errorf("%s: %s has no port %v", example, name(service), port)
					}
				}
			}
			if services != 1 {
				t.Errorf("%s: %s selects %d services", example, name(monitor), services)
			}
		}
	}
}

// The objects that are there, so that none is lost by an `if`.
func TestWhatIsInstalled(t *testing.T) {
	for example, expected := range map[string]string{
		"minimal":    "2 Deployment, 2 NetworkPolicy, 2 PodDisruptionBudget, 3 Service, 1 ServiceAccount",
		"production": "1 ConfigMap, 2 Deployment, 2 NetworkPolicy, 2 PodDisruptionBudget, 1 PrometheusRule, 3 Service, 1 ServiceAccount, 2 ServiceMonitor",
		"everything": "2 Deployment, 3 Service",
	} {
		objects := installed(t, example)
		var kinds []string
		for _, kind := range []string{"ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "PrometheusRule", "Service", "ServiceAccount", "ServiceMonitor"} {
			if count := len(of(kind, objects)); count > 0 {
				kinds = append(kinds, fmt.Sprint(count, " ", kind))
			}
		}
		if got := strings.Join(kinds, ", "); got != expected {
			t.Errorf("%s: %s", example, got)
		}
	}
}

// A build of the images can be repeated: each begins with another stage or with a digest.
func TestBaseImagesArePinned(t *testing.T) {
	dockerfile := read(t, "infra/Dockerfile")
	pinned := regexp.MustCompile(`(?m)^ARG (\w+)=\S+@sha256:[0-9a-f]{64}$`)
	bases := map[string]bool{}
	for _, found := range pinned.FindAllStringSubmatch(dockerfile, -1) {
		bases["${"+found[1]+"}"] = true
	}
	stages := regexp.MustCompile(`(?m)^FROM (\S+) AS (\S+)$`).FindAllStringSubmatch(dockerfile, -1)
	if len(stages) == 0 || len(stages) != strings.Count(dockerfile, "\nFROM ") {
		t.Fatalf("infra/Dockerfile: the stages are %v", stages)
	}
	for _, stage := range stages {
		if !bases[stage[1]] {
			t.Errorf("infra/Dockerfile: %s begins with %s, which has no digest", stage[2], stage[1])
		}
		bases[stage[2]] = true
	}
}

// The image that is deployed has the services, and runs as the chart says.
func TestTheImageIsOfTheServicesOnly(t *testing.T) {
	_, services, found := strings.Cut(read(t, "infra/Dockerfile"), " AS services\n")
	if !found || strings.Contains(services, "\nFROM") {
		t.Fatal("infra/Dockerfile: its last target should be `services`, so that it is what is built by default")
	}
	if strings.Contains(services, "hubspot-sim") || !strings.Contains(services, "\nUSER 65532:65532\n") {
		t.Errorf("infra/Dockerfile: the target `services` has the simulator, or another user:\n%s", services)
	}
}
