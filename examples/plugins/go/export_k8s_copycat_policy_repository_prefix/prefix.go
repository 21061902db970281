// Package export_k8s_copycat_policy_repository_prefix implements the hook repository-prefix.
package export_k8s_copycat_policy_repository_prefix

import (
	. "wit_component/k8s_copycat_policy_repository_prefix"
	"wit_component/policy"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// Render returns the repository prefix at a target.
func Render(use ImageUse, target Target) wit.Result[wit.Option[string], Error] {
	team := policy.Label(use, "team")
	if team == "" || !policy.IsProd(use) {
		return wit.Ok[wit.Option[string], Error](wit.None[string]())
	}
	prefix := team
	if target.Prefix != "" {
		prefix = target.Prefix + "/" + team
	}
	return wit.Ok[wit.Option[string], Error](wit.Some(prefix))
}
