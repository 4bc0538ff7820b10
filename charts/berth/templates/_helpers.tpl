{{- define "berth.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end -}}

{{- /* Call with a dict of root and component. The first two are what the selectors go by. */ -}}
{{- define "berth.selector" -}}
app.kubernetes.io/name: berth
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "berth.labels" -}}
{{ include "berth.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "berth.apiServerEnv" -}}
{{- with .Values.apiServer -}}
{{- if .host }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ .host | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ .port | quote }}
{{- end }}
{{- end -}}
{{- end -}}

{{- /* A file of config/, for the release's namespace. Call with a dict of root and file. */ -}}
{{- define "berth.file" -}}
{{ .root.Files.Get (printf "files/%s" .file) | replace "namespace: berth-system" (printf "namespace: %s" .root.Release.Namespace) | replace "system:serviceaccount:berth-system:" (printf "system:serviceaccount:%s:" .root.Release.Namespace) }}
{{- end -}}
