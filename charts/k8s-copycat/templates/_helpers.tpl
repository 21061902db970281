{{- define "k8s-copycat.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of all objects; short enough for the suffixes below. */}}
{{- define "k8s-copycat.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := include "k8s-copycat.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "k8s-copycat.selectorLabels" -}}
app.kubernetes.io/name: {{ include "k8s-copycat.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "k8s-copycat.labels" -}}
{{- $labels := fromYaml (include "k8s-copycat.selectorLabels" .) -}}
{{- $_ := set $labels "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.commonLabels) $labels) -}}
{{- end }}

{{- define "k8s-copycat.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "k8s-copycat.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "k8s-copycat.image" -}}
{{- $repository := .Values.image.repository | required "image.repository is empty: there is no published image. Build one with \"make image\", push it to a registry that your nodes can pull from, and set image.repository to its name" -}}
{{- with .Values.image.digest -}}
{{- $repository }}{{ with $.Values.image.tag }}:{{ . }}{{ end }}@{{ . }}
{{- else -}}
{{- $repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{/* "kubernetes" or "none". */}}
{{- define "k8s-copycat.operationsAuthorization" -}}
{{- $chosen := .Values.operationsAuthorization -}}
{{- if and (eq $chosen "kubernetes") .Values.scopedNamespaces -}}
{{- fail "operationsAuthorization: kubernetes needs a ClusterRole, which scopedNamespaces excludes: leave it at auto, or set none" -}}
{{- end -}}
{{- if eq $chosen "auto" -}}
{{- ternary "none" "kubernetes" (not (empty .Values.scopedNamespaces)) -}}
{{- else -}}
{{- $chosen -}}
{{- end -}}
{{- end }}

{{/* The configuration file, as YAML. */}}
{{- define "k8s-copycat.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $fromVariables := or .Values.extraEnv .Values.extraEnvFrom -}}
{{- if not (or $config.targetKind $config.targets $config.ecr $fromVariables) -}}
{{- fail "config has no target: set config.targetKind and its section, for example --set config.targetKind=docker --set config.docker.registry=registry.example.com/mirror, or config.targets; see docs/configuration.md" -}}
{{- end -}}
{{- if hasKey $config "operationsAuthorization" -}}
{{- fail "set operationsAuthorization beside config, not in it: the chart creates the permissions that belong to it" -}}
{{- end -}}
{{- if eq (include "k8s-copycat.operationsAuthorization" .) "kubernetes" -}}
{{- $_ := set $config "operationsAuthorization" "kubernetes" -}}
{{- end -}}
{{- with .Values.scopedNamespaces -}}
{{- if $config.includeNamespaces -}}
{{- fail "set either scopedNamespaces or config.includeNamespaces: scopedNamespaces sets the other" -}}
{{- end -}}
{{- if $config.checkNodePlatform -}}
{{- fail "config.checkNodePlatform needs the right to read nodes, which only a ClusterRole grants: use config.mirrorPlatforms with scopedNamespaces" -}}
{{- end -}}
{{- $_ := set $config "includeNamespaces" . -}}
{{- end -}}
{{- with .Values.sourceCredentials -}}
{{- $entries := default list $config.registryCredentials -}}
{{- range $login := . -}}
{{- $entry := dict "registry" $login.registry -}}
{{- with $login.registryAliases -}}
{{- $_ := set $entry "registryAliases" . -}}
{{- end -}}
{{- if $login.tokenKey -}}
{{- $_ := set $entry "tokenFile" (printf "/logins/%s/%s" $login.existingSecret $login.tokenKey) -}}
{{- else -}}
{{- $_ := set $entry "usernameFile" (printf "/logins/%s/%s" $login.existingSecret (default "username" $login.usernameKey)) -}}
{{- $_ := set $entry "passwordFile" (printf "/logins/%s/%s" $login.existingSecret (default "password" $login.passwordKey)) -}}
{{- end -}}
{{- $entries = append $entries $entry -}}
{{- end -}}
{{- $_ := set $config "registryCredentials" $entries -}}
{{- end -}}
{{- if .Values.dockerConfigSecret -}}
{{- if $config.dockerConfigFile -}}
{{- fail "set either dockerConfigSecret or config.dockerConfigFile: dockerConfigSecret sets the other" -}}
{{- end -}}
{{- $_ := set $config "dockerConfigFile" "/docker/config.json" -}}
{{- end -}}
{{- with .Values.plugins.oci -}}
{{- $_ := set $config "plugins" (concat (default list $config.plugins) .) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/* The keys of all Secrets with logins, as the files SECRET/KEY: a file's name can't come to mean another Secret when the list of
logins changes, which the running Pod's configuration shows before its volumes do. */}}
{{- define "k8s-copycat.loginSources" -}}
{{- $secrets := dict -}}
{{- with .Values.existingSecret -}}
{{- $_ := set $secrets . (list $.Values.existingSecretKeys.username $.Values.existingSecretKeys.password) -}}
{{- end -}}
{{- range $login := .Values.sourceCredentials -}}
{{- $keys := list (default "username" $login.usernameKey) (default "password" $login.passwordKey) -}}
{{- if $login.tokenKey -}}
{{- $keys = list $login.tokenKey -}}
{{- end -}}
{{- $known := default list (get $secrets $login.existingSecret) -}}
{{- $_ := set $secrets $login.existingSecret (concat $known $keys | uniq) -}}
{{- end -}}
{{- range $secret, $keys := $secrets }}
- secret:
    name: {{ $secret }}
    items:
      {{- range $key := $keys }}
      - key: {{ $key }}
        path: {{ $secret }}/{{ $key }}
      {{- end }}
{{- end }}
{{- end }}

{{/* Changes of these settings need a restart; the program applies all others by itself. */}}
{{- define "k8s-copycat.restartSettings" -}}
{{- $config := fromYaml (include "k8s-copycat.config" .) -}}
{{- pick $config "watchResources" "checkNodePlatform" "forceReconcileMinutes" "logLevel" "includeNamespaces" "operationsAuthorization" | toYaml -}}
{{- end }}

{{- define "k8s-copycat.pluginConfigMap" -}}
{{- if and .Values.plugins.existingConfigMap (not .Values.plugins.inline) }}
{{- .Values.plugins.existingConfigMap }}
{{- else }}
{{- include "k8s-copycat.fullname" . }}-plugins
{{- end }}
{{- end }}

{{/* A security context without the ids that OpenShift assigns. Arguments: root, context. */}}
{{- define "k8s-copycat.securityContext" -}}
{{- $mode := .root.Values.openshift.adaptSecurityContext -}}
{{- $context := .context -}}
{{- if or (eq $mode "force") (and (eq $mode "auto") (.root.Capabilities.APIVersions.Has "security.openshift.io/v1")) -}}
{{- $context = omit $context "fsGroup" "runAsUser" "runAsGroup" -}}
{{- end -}}
{{- toYaml $context -}}
{{- end }}

{{/* What is read of the workloads: the same rules in a ClusterRole and in Roles. */}}
{{- define "k8s-copycat.workloadRules" -}}
- apiGroups: [apps]
  resources: [deployments, statefulsets, daemonsets, replicasets]
  verbs: [get, list, watch]
- apiGroups: [batch]
  resources: [jobs, cronjobs]
  verbs: [get, list, watch]
{{ include "k8s-copycat.eventRules" . }}
{{- end }}

{{/* Failures are reported as events of their workloads, a refused configuration as an event of the program's Pod. */}}
{{- define "k8s-copycat.eventRules" -}}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
