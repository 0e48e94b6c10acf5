{{- define "labels" -}}
app.kubernetes.io/name: state-lab
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: state-lab
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Every pod of the chart: restricted Pod Security, a read-only root file system. */}}
{{- define "pod-security" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "container-security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "pull-secrets" -}}
{{- with .Values.image.pullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - {name: {{ . }}}
  {{- end }}
{{- end }}
{{- end }}

{{/* HOME has the keys of the bucket of evidence as a profile of their own: variables would replace Velero's as well. */}}
{{- define "home" -}}
/etc/state-lab-evidence
{{- end }}

{{- define "credentials-volume" -}}
{name: credentials, secret: {secretName: {{ .Values.evidence.credentials }}, defaultMode: 0440, items: [{key: credentials, path: .aws/credentials}]}}
{{- end }}
