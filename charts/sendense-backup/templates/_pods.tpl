{{/* Labels and annotations of a program's pods, (list $ "gateway"). The selector's labels come first: nothing replaces them. */}}
{{- define "sendense.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (include "sendense.valuesKey" .) -}}
{{- $selector := include "sendense.selector" . | fromYaml -}}
labels:
  {{- merge $selector ($values.podLabels | default dict) ($root.Values.commonLabels | default dict) | toYaml | nindent 2 }}
{{- with $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "sendense.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "sendense.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* How a program's pods are placed and pulled, (list $ "gateway"). */}}
{{- define "sendense.podPlacement" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (include "sendense.valuesKey" .) -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "sendense.topologySpread" . | fromJsonArray }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/*
JSON list of a program's topologySpreadConstraints, (list $ "gateway"). Those that select no pods get the program's. By
default one pod per node is preferred, unless an affinity to pods already says where they go.
*/}}
{{- define "sendense.topologySpread" -}}
{{- $values := index (index . 0).Values (include "sendense.valuesKey" .) -}}
{{- $pods := dict "matchLabels" (include "sendense.selector" . | fromYaml) -}}
{{- $affinity := $values.affinity | default dict -}}
{{- $constraints := list -}}
{{- range $values.topologySpreadConstraints -}}
{{- $constraints = append $constraints (ternary . (set (deepCopy .) "labelSelector" $pods) (hasKey . "labelSelector")) -}}
{{- end -}}
{{- if not (or $constraints $affinity.podAffinity $affinity.podAntiAffinity) -}}
{{- $constraints = list (dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway" "labelSelector" $pods "matchLabelKeys" (list "pod-template-hash")) -}}
{{- end -}}
{{- toJson $constraints -}}
{{- end -}}
