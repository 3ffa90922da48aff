{{/* The prefix of all names. */}}
{{- define "hubspot-streams.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the pods of a service: (dict "root" $ "component" "worker"). */}}
{{- define "hubspot-streams.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of every object; with a component, those of its pods too. */}}
{{- define "hubspot-streams.labels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with get . "component" }}
app.kubernetes.io/component: {{ . }}
{{- end }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "hubspot-streams.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "hubspot-streams.fullname" .) -}}
{{- end -}}

{{- define "hubspot-streams.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The name of the volume of a setting whose value is a file. */}}
{{- define "hubspot-streams.volume" -}}
{{- . | lower | replace "_" "-" -}}
{{- end -}}

{{/* Variables: what the chart decides, then the service's, then those of both. */}}
{{- define "hubspot-streams.env" -}}
{{- $settings := mergeOverwrite (deepCopy .root.Values.settings) .service.settings .fixed }}
{{- range $name, $value := $settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- range $name, $file := mergeOverwrite (deepCopy .root.Values.files) .service.files }}
- name: {{ $name }}
  value: {{ printf "/files/%s/%s" (include "hubspot-streams.volume" $name) $file.key }}
{{- end }}
{{- with concat .root.Values.env .service.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Files are mounted as folders, not by subPath, so that they are replaced with their Secret. */}}
{{- define "hubspot-streams.mounts" -}}
{{- range $name, $file := mergeOverwrite (deepCopy .root.Values.files) .service.files }}
- name: {{ include "hubspot-streams.volume" $name }}
  mountPath: /files/{{ include "hubspot-streams.volume" $name }}
  readOnly: true
{{- end }}
{{- end -}}

{{- define "hubspot-streams.volumes" -}}
{{- range $name, $file := mergeOverwrite (deepCopy .root.Values.files) .service.files }}
- name: {{ include "hubspot-streams.volume" $name }}
  {{- if hasKey $file "secret" }}
  secret:
    secretName: {{ $file.secret }}
    defaultMode: 0440
  {{- else }}
  configMap:
    name: {{ $file.configMap }}
  {{- end }}
    items:
      - key: {{ $file.key }}
        path: {{ $file.key }}
{{- end }}
{{- end -}}

{{/* What both pods have in common. */}}
{{- define "hubspot-streams.pod" -}}
serviceAccountName: {{ include "hubspot-streams.serviceAccount" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "hubspot-streams.selector" . | nindent 8 }}
{{- with .service.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .service.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .service.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What both containers have in common. */}}
{{- define "hubspot-streams.container" -}}
image: {{ include "hubspot-streams.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities:
    drop: [ALL]
env:
  {{- include "hubspot-streams.env" . | nindent 2 }}
{{- with concat .root.Values.envFrom .service.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml .service.resources | nindent 2 }}
# Answers as soon as the process listens, also while it waits for Kafka: a server that is
# away is no reason to start a service again.
livenessProbe:
  httpGet: {path: /health/live, port: admin}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{/* Rules of a NetworkPolicy to one server: (dict "ports" ... "to" ...). */}}
{{- define "hubspot-streams.egress" -}}
- ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* What both services may connect to: DNS, Kafka, the registry. */}}
{{- define "hubspot-streams.commonEgress" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{ include "hubspot-streams.egress" .Values.networkPolicy.kafka }}
{{ include "hubspot-streams.egress" .Values.networkPolicy.registry }}
{{- with .Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end -}}
