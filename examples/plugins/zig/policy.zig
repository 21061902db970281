//! Images of workloads labelled `tier: prod` get the prefix of their label `team`; all other workloads may not use `latest`.
const std = @import("std");
const c = @import("plugin");

const ImageUse = c.k8s_copycat_policy_types_image_use_t;
const Target = c.k8s_copycat_policy_types_target_t;
const Error = c.k8s_copycat_policy_types_error_t;
const Answer = c.exports_k8s_copycat_policy_skip_answer_t;

fn text(string: c.plugin_string_t) []const u8 {
    return if (string.len == 0) "" else string.ptr[0..string.len];
}

fn label(use: *ImageUse, name: []const u8) ?[]const u8 {
    for (0..use.workload.labels.len) |i| {
        const pair = use.workload.labels.ptr[i];
        if (std.mem.eql(u8, text(pair.f0), name)) return text(pair.f1);
    }
    return null;
}

fn isProd(use: *ImageUse) bool {
    return std.mem.eql(u8, label(use, "tier") orelse "", "prod");
}

export fn exports_k8s_copycat_policy_skip_decide(use: *ImageUse, answer: *Answer, _: *Error) bool {
    defer c.k8s_copycat_policy_types_image_use_free(use); // the plugin owns its arguments
    const latest = use.image.tag.is_some and std.mem.eql(u8, text(use.image.tag.val), "latest");
    answer.tag = c.EXPORTS_K8S_COPYCAT_POLICY_SKIP_ANSWER_PASS;
    if (latest and !isProd(use)) {
        answer.tag = c.EXPORTS_K8S_COPYCAT_POLICY_SKIP_ANSWER_SKIP;
        c.plugin_string_dup(&answer.val.skip, "only tier prod may use the tag latest");
    }
    return true;
}

export fn exports_k8s_copycat_policy_repository_prefix_render(use: *ImageUse, target: *Target, answer: *c.plugin_option_string_t, err: *Error) bool {
    defer c.k8s_copycat_policy_types_image_use_free(use);
    defer c.k8s_copycat_policy_types_target_free(target);
    answer.is_some = false;
    const team = label(use, "team") orelse return true;
    if (!isProd(use)) return true;
    const prefix = text(target.prefix);
    const parts = [_][]const u8{ prefix, if (prefix.len > 0) "/" else "", team };
    const joined = std.mem.concat(std.heap.c_allocator, u8, &parts) catch {
        err.tag = c.K8S_COPYCAT_POLICY_TYPES_ERROR_INTERNAL;
        c.plugin_string_dup(&err.val.internal, "out of memory");
        return false;
    };
    answer.* = .{ .is_some = true, .val = .{ .ptr = joined.ptr, .len = joined.len } };
    return true;
}
