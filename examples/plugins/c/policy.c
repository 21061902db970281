// Images of workloads labelled `tier: prod` get the prefix of their label `team`; all other workloads may not use `latest`.
#include <stdlib.h>
#include <string.h>
#include "build/plugin.h"

typedef k8s_copycat_policy_types_image_use_t image_use_t;
typedef k8s_copycat_policy_types_target_t target_t;
typedef k8s_copycat_policy_types_error_t error_t;
typedef exports_k8s_copycat_policy_skip_answer_t answer_t;

static bool equal(plugin_string_t a, const char *b) {
    return a.len == strlen(b) && memcmp(a.ptr, b, a.len) == 0;
}

static plugin_string_t *label(image_use_t *use, const char *name) {
    for (size_t i = 0; i < use->workload.labels.len; i++)
        if (equal(use->workload.labels.ptr[i].f0, name)) return &use->workload.labels.ptr[i].f1;
    return NULL;
}

static bool is_prod(image_use_t *use) {
    plugin_string_t *tier = label(use, "tier");
    return tier && equal(*tier, "prod");
}

bool exports_k8s_copycat_policy_skip_decide(image_use_t *use, answer_t *answer, error_t *error) {
    bool latest = use->image.tag.is_some && equal(use->image.tag.val, "latest");
    answer->tag = EXPORTS_K8S_COPYCAT_POLICY_SKIP_ANSWER_PASS;
    if (latest && !is_prod(use)) {
        answer->tag = EXPORTS_K8S_COPYCAT_POLICY_SKIP_ANSWER_SKIP;
        plugin_string_dup(&answer->val.skip, "only tier prod may use the tag latest");
    }
    k8s_copycat_policy_types_image_use_free(use); // the plugin owns its arguments
    return true;
}

bool exports_k8s_copycat_policy_repository_prefix_render(image_use_t *use, target_t *target,
                                                         plugin_option_string_t *answer, error_t *error) {
    plugin_string_t *team = label(use, "team"), prefix = target->prefix;
    answer->is_some = team && is_prod(use);
    if (answer->is_some) {
        size_t start = prefix.len ? prefix.len + 1 : 0;
        answer->val = (plugin_string_t){malloc(start + team->len), start + team->len};
        memcpy(answer->val.ptr, prefix.ptr, prefix.len);
        if (start) answer->val.ptr[prefix.len] = '/';
        memcpy(answer->val.ptr + start, team->ptr, team->len);
    }
    k8s_copycat_policy_types_image_use_free(use);
    k8s_copycat_policy_types_target_free(target);
    return true;
}
