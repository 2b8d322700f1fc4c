{{- define "hawser.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for the suffixes that objects add. */}}
{{- define "hawser.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "hawser.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* For cluster-scoped objects: the same release name may exist in two namespaces. */}}
{{- define "hawser.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "hawser.fullname" .) -}}
{{- end -}}

{{- define "hawser.selectorLabels" -}}
app.kubernetes.io/name: {{ include "hawser.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "hawser.labels" -}}
{{- $own := dict
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{- merge $own (include "hawser.selectorLabels" . | fromYaml) .Values.commonLabels | toYaml -}}
{{- end -}}

{{/* Without versions: what does not change the pod must not replace it, because that ends connections. */}}
{{- define "hawser.podLabels" -}}
{{- merge (include "hawser.selectorLabels" . | fromYaml) .Values.podLabels .Values.commonLabels | toYaml -}}
{{- end -}}

{{- define "hawser.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "hawser.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "hawser.image" -}}
{{- with .Values.image -}}
{{- $name := ternary (printf "%s/%s" .registry .repository) .repository (ne .registry "") -}}
{{- if .digest -}}
{{- printf "%s@%s" $name .digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "hawser.peerService" -}}
{{- printf "%s-peers" (include "hawser.fullname" .) -}}
{{- end -}}

{{/* NS/NAME of the Service whose addresses are published; empty: none. */}}
{{- define "hawser.publishService" -}}
{{- if and .Values.publishService.enabled (not .Values.publishAddress) -}}
{{- $name := .Values.publishService.name -}}
{{- if and (not $name) .Values.service.enabled -}}
{{- $name = include "hawser.fullname" . -}}
{{- end -}}
{{- if not $name -}}
{{- fail "publishService.name: name the Service whose addresses are published, because service.enabled is false (or set publishService.enabled=false, or publishAddress)" -}}
{{- end -}}
{{- printf "%s/%s" (default .Release.Namespace .Values.publishService.namespace) $name -}}
{{- end -}}
{{- end -}}

{{/* Milliseconds of a GEP-2257 duration. Arguments: list KEY VALUE. */}}
{{- define "hawser.milliseconds" -}}
{{- $key := index . 0 -}}
{{- $text := index . 1 | toString -}}
{{- if not (regexMatch "^([0-9]{1,5}(h|m|s|ms)){1,4}$" $text) -}}
{{- fail (printf "%s: %q is not a duration such as 90s, 5m or 1h30m" $key $text) -}}
{{- end -}}
{{- $unit := dict "h" 3600000 "m" 60000 "s" 1000 "ms" 1 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+(ms|h|m|s)" $text -1 -}}
{{- $sum = add $sum (mul (regexFind "^[0-9]+" . | atoi) (get $unit (regexFind "[a-z]+$" .))) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{/*
Seconds from the deletion of a pod to the kill: delay and window, 10 s in which the last tunnels say goodbye before
the rest is cut, and 5 s to spare.
*/}}
{{- define "hawser.gracePeriod" -}}
{{- $delay := include "hawser.milliseconds" (list "drain.delay" .Values.drain.delay) | int64 -}}
{{- $window := include "hawser.milliseconds" (list "drain.window" .Values.drain.window) | int64 -}}
{{- $needed := add (div (add $delay $window 999) 1000) 10 -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- add $needed 5 -}}
{{- else if le (int64 .Values.terminationGracePeriodSeconds) $needed -}}
{{- fail (printf "terminationGracePeriodSeconds: %v does not leave time for drain.delay, drain.window and the last goodbyes, which take %d s; leave it null to have it computed" .Values.terminationGracePeriodSeconds $needed) -}}
{{- else -}}
{{- int64 .Values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}

{{/* Spread constraints; each counts the pods of this release. */}}
{{- define "hawser.topologySpread" -}}
{{- $selector := dict "matchLabels" (include "hawser.selectorLabels" . | fromYaml) -}}
{{- $constraints := .Values.topologySpread.constraints -}}
{{- if not $constraints -}}
{{- $constraints = list
  (dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway")
  (dict "maxSkew" 1 "topologyKey" "topology.kubernetes.io/zone" "whenUnsatisfiable" "ScheduleAnyway") -}}
{{- end -}}
{{- $all := list -}}
{{- range $constraints -}}
{{- $all = append $all (merge (deepCopy .) (dict "labelSelector" $selector)) -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}
