{{/* One endpoint of a ServiceMonitor or PodMonitor. */}}
{{- define "circleci-relay.endpoint" -}}
- port: ops
  path: /metrics
  {{- with .interval }}
  interval: {{ . }}
  {{- end }}
  {{- with .scrapeTimeout }}
  scrapeTimeout: {{ . }}
  {{- end }}
  {{- with .relabelings }}
  relabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .metricRelabelings }}
  metricRelabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The groups of files/rules.yaml, without what is disabled, linked to the runbook that is named. */}}
{{- define "circleci-relay.groups" -}}
{{- $wanted := .Values.metrics.prometheusRule -}}
{{- $groups := list -}}
{{- /* RelayDown knows the job by its name: the Service's, or NAMESPACE/MONITOR. */ -}}
{{- $job := "circleci-relay(-ops|-metrics)?" -}}
{{- $name := include "circleci-relay.fullname" . -}}
{{- $named := ternary $job (printf "(circleci-relay|%s)(-ops|-metrics)?" $name) (hasSuffix "circleci-relay" $name) -}}
{{- range (.Files.Get "files/rules.yaml" | fromYaml).groups -}}
{{- $rules := list -}}
{{- range .rules -}}
{{- if not (and (hasKey . "alert") (has (get . "alert") $wanted.disabled)) -}}
{{- /* Nested: to Helm before 3.10 all that `and` is given is evaluated. */ -}}
{{- if $wanted.runbookUrl }}{{ with .annotations }}{{ if hasKey . "runbook_url" -}}
{{- $anchor := splitList "#" .runbook_url | rest | join "#" -}}
{{- $_ := set . "runbook_url" (printf "%s#%s" $wanted.runbookUrl $anchor) -}}
{{- end }}{{ end }}{{ end -}}
{{- $rules = append $rules (set . "expr" (.expr | toString | replace $job $named)) -}}
{{- end -}}
{{- end -}}
{{- if $rules }}{{ $groups = append $groups (set . "rules" $rules) }}{{ end -}}
{{- end -}}
{{- toYaml $groups -}}
{{- end -}}
