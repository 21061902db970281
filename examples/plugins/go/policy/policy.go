// Package policy: images of workloads labelled `tier: prod` go below the value of their label `team`; all others may not
// use `latest`.
package policy

import . "wit_component/k8s_copycat_policy_types"

// Label is the value of a label of the workload; empty where it has none of this name.
func Label(use ImageUse, name string) string {
	for _, pair := range use.Workload.Labels {
		if pair.F0 == name {
			return pair.F1
		}
	}
	return ""
}

// IsProd says whether the workload is of the tier prod.
func IsProd(use ImageUse) bool {
	return Label(use, "tier") == "prod"
}
