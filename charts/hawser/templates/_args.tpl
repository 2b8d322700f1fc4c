{{- define "hawser.args" -}}
- run
- --http={{ .Values.listen.address }}:{{ .Values.listen.http }}
- --status={{ .Values.listen.address }}:{{ .Values.listen.status }}
- --admin=127.0.0.1:{{ .Values.listen.admin }}
- --ingress-class={{ .Values.ingressClass.name }}
- --controller-name={{ .Values.ingressClass.controllerValue }}
{{- if .Values.watchIngressWithoutClass }}
- --watch-ingress-without-class
{{- end }}
{{- range .Values.watchNamespaces }}
- --watch-namespace={{ . }}
{{- end }}
- --relist-guard={{ .Values.relistGuard }}
- --lease={{ .Release.Namespace }}/{{ include "hawser.fullname" . }}
{{- if .Values.peers.enabled }}
- --peer-service={{ .Release.Namespace }}/{{ include "hawser.peerService" . }}
- --peer-token-file=/var/run/secrets/hawser/peers/token
{{- end }}
{{- range .Values.publishAddress }}
- --publish-address={{ . }}
{{- end }}
{{- with include "hawser.publishService" . }}
- --publish-service={{ . }}
{{- end }}
- --drain-delay={{ .Values.drain.delay }}
- --drain-window={{ .Values.drain.window }}
{{- if not (kindIs "invalid" .Values.maxConnections) }}
- --max-connections={{ .Values.maxConnections | int64 }}
{{- end }}
- --log-format={{ .Values.log.format }}
- {{ printf "--log-level=%s" .Values.log.level | quote }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}
