{{/* Labels of everything that the chart makes. */}}
{{- define "chaperone.labels" -}}
app.kubernetes.io/name: chaperone
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* The image of every part. */}}
{{- define "chaperone.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* What a container of ours may do: as little as the standard "restricted" leaves. */}}
{{- define "chaperone.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "chaperone.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The token for the Kubernetes API, where every client looks for it; mounted by the pods that need it alone. */}}
{{- define "chaperone.kubeTokenVolume" -}}
name: kube-api
projected:
  defaultMode: 288 # 0440, which parsers of YAML 1.2 would take for 440
  sources:
    - serviceAccountToken:
        path: token
        expirationSeconds: 3607
    - configMap:
        name: kube-root-ca.crt
        items:
          - key: ca.crt
            path: ca.crt
    - downwardAPI:
        items:
          - path: namespace
            fieldRef:
              fieldPath: metadata.namespace
{{- end -}}

{{- define "chaperone.kubeTokenMount" -}}
name: kube-api
mountPath: /var/run/secrets/kubernetes.io/serviceaccount
readOnly: true
{{- end -}}

{{/* Image, security and probes of a server; what differs stands beside. Takes a dict of root, part and port. */}}
{{- define "chaperone.server" -}}
image: {{ include "chaperone.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
# Behind the flags of the image's entry point: of two the last counts.
args: [--max-old-space-size={{ (index .root.Values .part).heapMiB }}, {{ .part }}.cjs]
ports:
  - name: https
    containerPort: {{ .port }}
  - name: health
    containerPort: 15490
startupProbe:
  httpGet: { path: /healthz, port: health }
  periodSeconds: 1
  failureThreshold: 120
readinessProbe:
  httpGet: { path: /readyz, port: health }
  periodSeconds: 5
  timeoutSeconds: 2
livenessProbe:
  httpGet: { path: /healthz, port: health }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
resources:
  {{- toYaml (index .root.Values .part).resources | nindent 2 }}
securityContext:
  {{- include "chaperone.containerSecurity" . | nindent 2 }}
{{- end -}}

{{/* What the pods of a server have in common. Takes a dict of root and part. */}}
{{- define "chaperone.pod" -}}
serviceAccountName: chaperone-{{ .part }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClass }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "chaperone.podSecurity" . | nindent 2 }}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ $key }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "chaperone.selector" $ | nindent 8 }}
  {{- end }}
{{- end -}}

{{/* Labels that pods of a part are found by. Takes a dict of part. */}}
{{- define "chaperone.selector" -}}
app.kubernetes.io/name: chaperone
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{/* What injected containers are made of: the controller serves a pod only if they are what the webhook injects. */}}
{{- define "chaperone.injectedEnv" -}}
- name: CHAPERONE_IMAGE
  value: {{ include "chaperone.image" . }}
- name: CHAPERONE_IMAGE_PULL_POLICY
  value: {{ .Values.image.pullPolicy }}
- name: CHAPERONE_CONTROLLER_URL
  value: https://chaperone-controller.{{ .Release.Namespace }}.svc:443
- name: CHAPERONE_COLLECTOR_URL
  value: https://chaperone-collector.{{ .Release.Namespace }}.svc:443
- name: CHAPERONE_SIDECAR_RESOURCES
  value: {{ toJson .Values.sidecar.resources | quote }}
- name: CHAPERONE_INIT_RESOURCES
  value: {{ toJson .Values.sidecar.initResources | quote }}
- name: CHAPERONE_SPOOL_MAX_BYTES
  value: {{ int64 .Values.sidecar.spoolMaxBytes | quote }}
- name: CHAPERONE_SIDECAR_LOG_LEVEL
  value: {{ .Values.sidecar.logLevel }}
{{- end -}}

{{- define "chaperone.commonEnv" -}}
- name: CHAPERONE_LISTEN
  value: '[::]:{{ .port }}'
- name: CHAPERONE_METRICS_LISTEN
  value: '[::]:15490'
- name: CHAPERONE_LOG_LEVEL
  value: {{ .root.Values.logLevel }}
{{- end -}}

{{/* Name and key of the Secret with the database's URL. */}}
{{- define "chaperone.databaseSecret" -}}
{{- if .Values.postgres.bundled.enabled -}}
{{- if .Values.database.existingSecret.name -}}
{{- fail "postgres.bundled.enabled and database.existingSecret.name are both set: records go to one database" -}}
{{- end -}}
chaperone-database
{{- else -}}
{{- required "no database for records: name the Secret with its URL in database.existingSecret.name, or set postgres.bundled.enabled=true to try Chaperone out" .Values.database.existingSecret.name -}}
{{- end -}}
{{- end -}}

{{/* Of a Job's pod, which runs a command of the command line once. */}}
{{- define "chaperone.jobPod" -}}
restartPolicy: Never
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "chaperone.podSecurity" . | nindent 2 }}
volumes:
  - {{- include "chaperone.kubeTokenVolume" . | nindent 4 }}
{{- end -}}

{{/* A container of such a pod. Takes a dict of root, name and args. */}}
{{- define "chaperone.jobContainer" -}}
name: {{ .name }}
image: {{ include "chaperone.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args: {{ prepend .args "cli.cjs" | toJson }}
terminationMessagePolicy: FallbackToLogsOnError
resources:
  requests: { cpu: 50m, memory: 96Mi }
  limits: { memory: 256Mi }
securityContext:
  {{- include "chaperone.containerSecurity" . | nindent 2 }}
volumeMounts:
  - {{- include "chaperone.kubeTokenMount" . | nindent 4 }}
{{- end -}}
