{{/* What Hawser reads and writes in a namespace that it watches. */}}
{{- define "hawser.watchRules" -}}
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [list, watch]
- apiGroups: [hawser.dev]
  resources: [websocketroutes]
  verbs: [list, watch]
# Status is written by server-side apply, which is a patch; nothing else of an object can be changed.
- apiGroups: [networking.k8s.io]
  resources: [ingresses/status]
  verbs: [patch]
- apiGroups: [hawser.dev]
  resources: [websocketroutes/status]
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* Cluster-scoped rights, which no Role can give. */}}
{{- define "hawser.clusterRules" -}}
{{- if or .Values.rbac.ingressClasses (not .Values.watchNamespaces) }}
- apiGroups: [networking.k8s.io]
  resources: [ingressclasses]
  verbs: [list, watch]
{{- end }}
{{- if .Values.peers.enabled }}
# The public keys that the tokens of other replicas are verified with.
- nonResourceURLs: [/openid/v1/jwks]
  verbs: [get]
{{- end }}
{{- end -}}

{{- define "hawser.subject" -}}
- kind: ServiceAccount
  name: {{ include "hawser.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
