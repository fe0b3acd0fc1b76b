{{- define "sendense.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 52 characters, so that "-controller" fits into 63. */}}
{{- define "sendense.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "sendense.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "sendense.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "sendense.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ include "sendense.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Labels and annotations of an object: (dict "root" $ "component" "gateway" "labels" DICT "annotations" DICT), all but root
optional. The object's own annotations win over commonAnnotations: the resource policy keeps what must outlive the release.
*/}}
{{- define "sendense.metadata" -}}
labels:
  {{- include "sendense.labels" .root | nindent 2 }}
  {{- with .component }}
  app.kubernetes.io/component: {{ . }}
  {{- end }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) (.root.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Of the Lease by which several controllers agree on the one that works. */}}
{{- define "sendense.leaseName" -}}
{{ include "sendense.fullname" . }}-controller
{{- end -}}

{{/* (list $ "gateway") */}}
{{- define "sendense.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "sendense.name" $root | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "sendense.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Name of a component's part of the values, (list $ "api"). */}}
{{- define "sendense.valuesKey" -}}
{{- ternary "rest" (index . 1) (eq (index . 1) "api") -}}
{{- end -}}

{{/* (list $ "gateway") */}}
{{- define "sendense.serviceAccount" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $account := (index $root.Values (include "sendense.valuesKey" .)).serviceAccount -}}
{{- if not (or $account.create $account.name) -}}
{{- fail (printf "%s.serviceAccount.create=false needs %s.serviceAccount.name: the rights would go to the account `default`" (include "sendense.valuesKey" .) (include "sendense.valuesKey" .)) -}}
{{- end -}}
{{- if $account.create -}}
{{- $account.name | default (printf "%s-%s" (include "sendense.fullname" $root) $component) -}}
{{- else -}}
{{- $account.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* JSON list of the programs that speak to the API server. */}}
{{- define "sendense.components" -}}
{{- ternary (list "controller" "gateway" "api") (list "controller" "gateway") .Values.rest.enabled | toJson -}}
{{- end -}}

{{- define "sendense.gatewayURL" -}}
{{- if .Values.gateway.externalURL -}}
{{- .Values.gateway.externalURL | trimSuffix "/" -}}
{{- else -}}
http://{{ include "sendense.fullname" . }}-gateway.{{ .Release.Namespace }}.svc:{{ .Values.gateway.service.port }}
{{- end -}}
{{- end -}}

{{- define "sendense.callbackKeySecret" -}}
{{- .Values.gateway.callbackKey.existingSecret | default (printf "%s-callbacks" (include "sendense.fullname" .)) -}}
{{- end -}}

{{/* The Secret whose certificate REST serves by; empty without TLS. */}}
{{- define "sendense.restSecret" -}}
{{- if .Values.rest.tls.enabled -}}
{{- .Values.rest.tls.secretName | default (include "sendense.restMadeSecret" .) -}}
{{- end -}}
{{- end -}}

{{/* The one that the controller fills; empty when there is none to fill. */}}
{{- define "sendense.restMadeSecret" -}}
{{- if and .Values.rest.enabled .Values.rest.tls.enabled (not .Values.rest.tls.secretName) -}}
{{ include "sendense.fullname" . }}-api-tls
{{- end -}}
{{- end -}}

{{- define "sendense.restNamespace" -}}
{{- .Values.rest.defaultNamespace | default (first .Values.watchNamespaces) | default .Release.Namespace -}}
{{- end -}}

{{/* What spec.podTemplate of a BackupRepository says, for all of them; resources and priority are variables of their own. */}}
{{- define "sendense.workerPodTemplate" -}}
{{- $template := dict -}}
{{- $names := dict "podLabels" "labels" "podAnnotations" "annotations" "nodeSelector" "nodeSelector" "tolerations" "tolerations" "affinity" "affinity" -}}
{{- range $value, $field := $names -}}
{{- with index $.Values.worker $value -}}
{{- $_ := set $template $field . -}}
{{- end -}}
{{- end -}}
{{- toJson $template -}}
{{- end -}}

{{- define "sendense.pullSecretNames" -}}
{{- $names := list -}}
{{- range .Values.imagePullSecrets -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}
