{{/* What of the relay's configuration the chart itself writes. */}}

{{/* A duration such as 1.5m, in seconds. */}}
{{- define "circleci-relay.seconds" -}}
{{- $text := default "0s" . -}}
{{- $unit := regexFind "[a-z]+$" $text -}}
{{- $of := dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 -}}
{{- mulf (trimSuffix $unit $text | float64) (get $of $unit) -}}
{{- end -}}

{{/* What the relay itself, or Kubernetes, would refuse later. */}}
{{- define "circleci-relay.refuseBounds" -}}
{{- range list (list "store.keep" .Values.store.keep 60.0 "1m" 315360000.0 "3650d")
               (list "shutdown.linger" .Values.shutdown.linger 0.0 "0s" 600.0 "10m")
               (list "shutdown.drain" .Values.shutdown.drain 0.0 "0s" 3600.0 "60m")
               (list "shutdown.flush" .Values.shutdown.flush 0.0 "0s" 3600.0 "60m") -}}
{{- $seconds := include "circleci-relay.seconds" (index . 1) | float64 -}}
{{- if or (lt $seconds (index . 2)) (gt $seconds (index . 4)) -}}
{{- fail (printf "%s: the relay takes %s to %s, and not %s" (index . 0) (index . 3) (index . 5) (index . 1)) -}}
{{- end -}}
{{- end -}}
{{- with .Values.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail (printf "autoscaling.minReplicas: %d is more than maxReplicas, which is %d" (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* linger, flush and drain one after another, and 10 s to close the store. */}}
{{- define "circleci-relay.grace" -}}
{{- $stop := .Values.shutdown -}}
{{- $parts := list $stop.linger $stop.flush $stop.drain -}}
{{- $total := 10 -}}
{{- range $parts }}{{ $total = add $total (include "circleci-relay.seconds" . | float64 | ceil | int64) }}{{ end -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- $total -}}
{{- else -}}
{{- int64 .Values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}

{{- define "circleci-relay.address" -}}
{{- $host := .root.Values.listenAddress -}}
{{- if contains ":" $host }}[{{ $host }}]{{ else }}{{ $host }}{{ end }}:{{ .port -}}
{{- end -}}

{{/* The part of chart.yaml that only a restart brings into force. */}}
{{- define "circleci-relay.fixed" -}}
server:
  listen: {{ include "circleci-relay.address" (dict "root" . "port" 8080) | quote }}
  ops: {{ include "circleci-relay.address" (dict "root" . "port" 8081) | quote }}
  {{- if .Values.admin.enabled }}
  admin: {{ include "circleci-relay.address" (dict "root" . "port" 8082) | quote }}
  {{- else }}
  admin: 127.0.0.1:8082
  {{- end }}
store:
  {{- if eq .Values.store.type "postgresql" }}
  url: ${env:CIRCLECI_RELAY_STORE_URL}
  {{- else }}
  url: sqlite:////data/relay.db
  {{- end }}
{{- end -}}

{{/* Names by which the page is asked for; it answers to no others. */}}
{{- define "circleci-relay.adminHosts" -}}
{{- $hosts := default list .Values.admin.hosts -}}
{{- if .Values.admin.enabled -}}
{{- $name := printf "%s-admin" (include "circleci-relay.fullname" .) -}}
{{- $far := printf "%s.%s" $name (include "circleci-relay.namespace" .) -}}
{{- $hosts = concat (list $name $far (printf "%s.svc" $far) (printf "%s.svc.%s" $far .Values.clusterDomain)) $hosts -}}
{{- end -}}
{{- with $hosts }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* The part of it that the running relay takes up. */}}
{{- define "circleci-relay.live" -}}
server:
  shutdown:
    linger: {{ .Values.shutdown.linger }}
    drain: {{ .Values.shutdown.drain }}
    {{- with .Values.shutdown.flush }}
    flush: {{ . }}
    {{- end }}
  {{- with .Values.admin.externalUrl }}
  external_url: {{ . | quote }}
  {{- end }}
  {{- with include "circleci-relay.adminHosts" . }}
  admin_hosts:
    {{- . | nindent 4 }}
  {{- end }}
  {{- if .Values.admin.enabled }}
  admin_tokens:
    {{- range $name, $token := .Values.admin.tokens }}
    {{ $name | quote }}:
      token: "${file:/run/secrets/circleci-relay-admin/{{ default $name $token.key }}}"
      role: {{ default "viewer" $token.role }}
    {{- end }}
  {{- end }}
  {{- if .Values.hooks.tls.existingSecret }}
  tls:
    cert: /run/secrets/circleci-relay-tls/tls.crt
    key: /run/secrets/circleci-relay-tls/tls.key
  {{- end }}
store:
  keep: {{ .Values.store.keep }}
{{- end -}}

{{- define "circleci-relay.chartYaml" -}}
# Made by the chart. What stands here stands nowhere else.
{{ toYaml (mergeOverwrite (include "circleci-relay.fixed" . | fromYaml) (include "circleci-relay.live" . | fromYaml)) }}
{{- end -}}

{{/* Keys of the first map that the second has too, below the path: "server.listen". */}}
{{- define "circleci-relay.shared" -}}
{{- $ours := .ours -}}
{{- $theirs := .theirs -}}
{{- $path := .path -}}
{{- range $key, $value := $ours -}}
{{- if hasKey $theirs $key -}}
{{- if and (kindIs "map" $value) (kindIs "map" (get $theirs $key)) -}}
{{- include "circleci-relay.shared" (dict "ours" $value "theirs" (get $theirs $key) "path" (printf "%s%s." $path $key)) -}}
{{- else }} {{ $path }}{{ $key }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Say now what the relay would say when it starts: a key stands in one file. */}}
{{- define "circleci-relay.refuseTwice" -}}
{{- $ours := include "circleci-relay.chartYaml" . | fromYaml -}}
{{- range $name, $text := merge (dict "config" .Values.config) (default dict .Values.configFiles) -}}
{{- with include "circleci-relay.shared" (dict "ours" $ours "theirs" (fromYaml $text) "path" "") -}}
{{- fail (printf "%s: the chart itself sets%s; take it out there, and use the chart's values for it" $name .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
A map of texts, each of which arrives as it is: as a block to read, unless it holds what YAML takes
for an end of line, or for nothing.
*/}}
{{- define "circleci-relay.verbatim" -}}
{{- range $name, $text := . }}
{{- if regexMatch `[\x00-\x08\x0b-\x1f\x7f-\x{9f}\x{2028}\x{2029}\x{feff}]` (print $name $text) }}
{{ toJson $name }}: {{ toJson $text | replace "\u0085" "\\u0085" | replace "\ufeff" "\\ufeff" | replace "\u007f" "\\u007f" }}
{{- else }}
{{ toYaml (dict $name $text) }}
{{- end }}
{{- end }}
{{- end -}}
