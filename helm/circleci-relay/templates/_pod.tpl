{{/* The pod, once, for the StatefulSet and the Deployment. */}}

{{- define "circleci-relay.pod" -}}
metadata:
  labels:
    {{- $labels := merge (include "circleci-relay.selectorLabels" . | fromYaml) (deepCopy (default dict .Values.podLabels)) (deepCopy (default dict .Values.commonLabels)) }}
    {{- toYaml $labels | nindent 4 }}
  annotations:
    # Only what needs a restart. The relay takes up everything else while it runs.
    checksum/needs-restart: {{ include "circleci-relay.fixed" . | sha256sum }}
    kubectl.kubernetes.io/default-container: relay
    {{- with merge (deepCopy (default dict .Values.podAnnotations)) (deepCopy (default dict .Values.commonAnnotations)) }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "circleci-relay.serviceAccountName" . | quote }}
  automountServiceAccountToken: false
  # Variables named after Services would look like settings of the relay's.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "circleci-relay.grace" . }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - {{ include "circleci-relay.container" . | nindent 6 | trim }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "circleci-relay.volumes" . | nindent 4 }}
  {{- with include "circleci-relay.spread" . }}
  topologySpreadConstraints:
    {{- . | nindent 4 }}
  {{- end }}
  {{- range $key := list "affinity" "dnsConfig" "hostAliases" "nodeSelector" "tolerations" }}
  {{- with get $.Values $key }}
  {{ $key }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- range $key := list "dnsPolicy" "priorityClassName" "runtimeClassName" "schedulerName" }}
  {{- with get $.Values $key }}
  {{ $key }}: {{ quote . }}
  {{- end }}
  {{- end }}
{{- end -}}

{{- define "circleci-relay.container" -}}
name: relay
image: {{ include "circleci-relay.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - serve
  - -c
  - /etc/circleci-relay
  {{- with .Values.extraArgs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
env:
  # For commands that are run in the container.
  - name: CIRCLECI_RELAY_CONFIG
    value: /etc/circleci-relay
  - name: CIRCLECI_RELAY_LOG_LEVEL
    value: {{ .Values.logLevel }}
  - name: CIRCLECI_RELAY_LOG_FORMAT
    value: {{ .Values.logFormat }}
  {{- if eq .Values.store.type "postgresql" }}
  - name: CIRCLECI_RELAY_STORE_URL
    valueFrom:
      secretKeyRef:
        name: {{ .Values.store.postgresql.existingSecret | quote }}
        key: {{ .Values.store.postgresql.key | quote }}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if or .Values.secrets.env .Values.extraEnvFrom }}
envFrom:
  {{- range .Values.secrets.env }}
  - secretRef:
      name: {{ quote . }}
  {{- end }}
  {{- with .Values.extraEnvFrom }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
ports:
  - name: hooks
    containerPort: 8080
  - name: ops
    containerPort: 8081
  - name: admin
    containerPort: 8082
# A store that is away is no reason to restart: that is readiness's to say, not liveness's.
startupProbe:
  httpGet:
    path: /healthz
    port: ops
  {{- toYaml .Values.probes.startup | nindent 2 }}
livenessProbe:
  httpGet:
    path: /healthz
    port: ops
  {{- toYaml .Values.probes.liveness | nindent 2 }}
readinessProbe:
  httpGet:
    path: /readyz
    port: ops
  {{- toYaml .Values.probes.readiness | nindent 2 }}
{{- with .Values.lifecycle }}
lifecycle:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
# Directories, without subPath: what is mounted by subPath never changes in a running pod.
volumeMounts:
  - name: config
    mountPath: /etc/circleci-relay
    readOnly: true
  {{- if or .Values.secrets.files .Values.secrets.insecure }}
  - name: secrets
    mountPath: /run/secrets/circleci-relay
    readOnly: true
  {{- end }}
  {{- if .Values.admin.enabled }}
  - name: admin-tokens
    mountPath: /run/secrets/circleci-relay-admin
    readOnly: true
  {{- end }}
  {{- if .Values.hooks.tls.existingSecret }}
  - name: tls
    mountPath: /run/secrets/circleci-relay-tls
    readOnly: true
  {{- end }}
  {{- if eq .Values.store.type "sqlite" }}
  - name: data
    mountPath: /data
  {{- end }}
  - name: tmp
    mountPath: /tmp
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "circleci-relay.volumes" -}}
- name: config
  projected:
    defaultMode: 0444
    sources:
      {{- with .Values.existingConfigMap }}
      - configMap:
          name: {{ quote . }}
      {{- end }}
      - configMap:
          name: {{ include "circleci-relay.fullname" . | quote }}
{{- if or .Values.secrets.files .Values.secrets.insecure }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range .Values.secrets.files }}
      - secret:
          name: {{ quote . }}
      {{- end }}
      {{- if .Values.secrets.insecure }}
      - secret:
          name: "{{ include "circleci-relay.fullname" . }}-insecure"
      {{- end }}
{{- end }}
{{- if .Values.admin.enabled }}
- name: admin-tokens
  secret:
    secretName: {{ .Values.admin.existingSecret | quote }}
    defaultMode: 0440
{{- end }}
{{- with .Values.hooks.tls.existingSecret }}
- name: tls
  secret:
    secretName: {{ quote . }}
    defaultMode: 0440
{{- end }}
{{- if and (eq .Values.store.type "sqlite") .Values.store.sqlite.existingClaim }}
- name: data
  persistentVolumeClaim:
    claimName: {{ .Values.store.sqlite.existingClaim | quote }}
{{- end }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Several replicas go to several nodes, if there are as many; or as the values say. */}}
{{- define "circleci-relay.spread" -}}
{{- $selector := dict "matchLabels" (include "circleci-relay.selectorLabels" . | fromYaml) -}}
{{- $constraints := list -}}
{{- range .Values.topologySpreadConstraints -}}
{{- $constraints = append $constraints (merge (deepCopy .) (dict "labelSelector" $selector)) -}}
{{- end -}}
{{- if and (not $constraints) (include "circleci-relay.several" .) -}}
{{- $constraints = append $constraints (dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway" "labelSelector" $selector "matchLabelKeys" (list "pod-template-hash")) -}}
{{- end -}}
{{- with $constraints }}{{ toYaml . }}{{ end -}}
{{- end -}}
