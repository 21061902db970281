// Package policy: images of workloads labelled `tier: prod` get the prefix of their label `team`; all other workloads
// may not use `latest`.
package policy

import . "wit_component/k8s_copycat_policy_types"

// Label returns the value of a label of the workload, or an empty string.
func Label(use ImageUse, name string) string {
	for _, pair := range use.Workload.Labels {
		if pair.F0 == name {
			return pair.F1
		}
	}
	return ""
}

// IsProd reports whether the workload has the label tier: prod.
func IsProd(use ImageUse) bool {
	return Label(use, "tier") == "prod"
}
