// Package export_k8s_copycat_policy_skip implements the hook skip.
package export_k8s_copycat_policy_skip

import (
	. "wit_component/k8s_copycat_policy_skip"
	"wit_component/policy"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// Decide decides whether to mirror an image use.
func Decide(use ImageUse) wit.Result[Answer, Error] {
	tag := use.Image.Tag
	if tag.IsSome() && tag.Some() == "latest" && !policy.IsProd(use) {
		return wit.Ok[Answer, Error](MakeAnswerSkip("only tier prod may use the tag latest"))
	}
	return wit.Ok[Answer, Error](MakeAnswerPass())
}
