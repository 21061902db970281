// Package export_k8s_copycat_policy_skip answers the hook skip.
package export_k8s_copycat_policy_skip

import (
	. "wit_component/k8s_copycat_policy_skip"
	"wit_component/policy"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// Decide says whether an image use is mirrored at all.
func Decide(use ImageUse) wit.Result[Answer, Error] {
	tag := use.Image.Tag
	if tag.IsSome() && tag.Some() == "latest" && !policy.IsProd(use) {
		return wit.Ok[Answer, Error](MakeAnswerSkip("the tag latest is for tier prod alone"))
	}
	return wit.Ok[Answer, Error](MakeAnswerPass())
}
