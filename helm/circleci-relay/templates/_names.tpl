{{/* Names and labels. */}}

{{- define "circleci-relay.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 52 characters, so that "-headless" and the hash of a pod's revision still fit into 63. */}}
{{- define "circleci-relay.fullname" -}}
{{- $name := include "circleci-relay.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- $full = default $full .Values.fullnameOverride | replace "." "-" | trunc 52 | trimSuffix "-" -}}
{{- if not (regexMatch "^[a-z]" $full) -}}
{{- fail (printf "a Service's name begins with a letter, and %s does not: set fullnameOverride" $full) -}}
{{- end -}}
{{- $full -}}
{{- end -}}

{{- define "circleci-relay.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "circleci-relay.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "circleci-relay.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What never changes in a release's life: a workload's selector cannot be changed. */}}
{{- define "circleci-relay.ownLabels" -}}
app.kubernetes.io/name: {{ include "circleci-relay.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* The relay's pods, and no others: the test's pod has another component. */}}
{{- define "circleci-relay.selectorLabels" -}}
{{ include "circleci-relay.ownLabels" . }}
app.kubernetes.io/component: relay
{{- end -}}

{{/* All labels of an object, of (dict "root" $ "component" NAME "labels" MAP). What the chart needs wins. */}}
{{- define "circleci-relay.labels" -}}
{{- $root := .root -}}
{{- $own := include "circleci-relay.ownLabels" $root | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/component" (default "relay" .component) -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "circleci-relay" -}}
{{- $_ := set $own "app.kubernetes.io/version" ($root.Chart.AppVersion | toString | trunc 63) -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- toYaml (merge $own (deepCopy (default (dict) .labels)) (deepCopy (default (dict) $root.Values.commonLabels))) -}}
{{- end -}}

{{/* An object's metadata, of (dict "root" $ "name" SUFFIX "component" "labels" "annotations" "namespace"). */}}
{{- define "circleci-relay.metadata" -}}
{{- $annotations := merge (deepCopy (default (dict) .annotations)) (deepCopy (default (dict) .root.Values.commonAnnotations)) -}}
name: {{ printf "%s-%s" (include "circleci-relay.fullname" .root) (default "" .name) | trimSuffix "-" | quote }}
namespace: {{ default (include "circleci-relay.namespace" .root) .namespace | quote }}
labels:
  {{- include "circleci-relay.labels" . | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* By digest where one is given, else by tag: never "latest" by silence. */}}
{{- define "circleci-relay.image" -}}
{{- $image := .Values.image -}}
{{- $name := $image.repository -}}
{{- with $image.registry }}{{ $name = printf "%s/%s" (trimSuffix "/" .) $name }}{{ end -}}
{{- if $image.digest -}}
{{- $name }}@{{ $image.digest -}}
{{- else -}}
{{- $name }}:{{ default .Chart.AppVersion $image.tag -}}
{{- end -}}
{{- end -}}

{{/* "yes" where more than one pod is meant to run at once. */}}
{{- define "circleci-relay.several" -}}
{{- if eq .Values.store.type "postgresql" -}}
{{- if .Values.autoscaling.enabled -}}
{{- if gt (int .Values.autoscaling.maxReplicas) 1 -}}yes{{- end -}}
{{- else if gt (int .Values.replicas) 1 -}}yes{{- end -}}
{{- end -}}
{{- end -}}

{{- define "circleci-relay.hooksPort" -}}
{{- if .Values.hooks.tls.existingSecret }}https{{ else }}http{{ end -}}
{{- end -}}
