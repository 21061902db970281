use serde_json::{Value, json};

use super::*;

fn image() -> Value {
    let mut image = json!({
        "image": "redis:7", "source": "docker.io/library/redis:7", "destination": "m.example/redis:7",
        "target": "default", "state": "missing", "activity": "cooldown", "reason": "not found", "failures": 2,
        "firstSeen": "2026-11-28T07:00:00Z", "failingSince": "2026-11-28T07:27:08Z",
        "nextTry": "2026-11-28T07:28:00Z", "workloadCount": 1,
        "workloads": [{ "kind": "Deployment", "namespace": "shop", "name": "cache" }],
    });
    for key in ["owner", "digestAtTarget", "digestAtSource", "lastResult", "lastChecked", "tookMilliseconds", "bytes"] {
        image[key] = Value::Null;
    }
    for key in ["lastMirrored", "progress"] {
        image[key] = Value::Null;
    }
    image
}

fn status(phase: &str, is_leader: bool) -> Value {
    json!({
        "apiVersion": "k8s-copycat/v1", "kind": "Status", "version": "1", "time": "2026-11-28T07:27:10Z",
        "leader": { "isLeader": is_leader, "identity": "copycat-0_7" }, "phase": phase,
        "dryRun": false, "dryPull": false,
        "summary": {
            "images": { "mirrored": 1, "missing": 1, "unverified": 3 }, "imageUses": {}, "queue": { "cooldown": 1 },
            "workloads": 4, "oldestNotMirrored": null, "bytesToday": 0,
            "passes": { "runningSince": null, "last": null, "next": null },
        },
        "targets": [], "registries": [], "images": [image()],
        "page": { "total": 1, "offset": 0, "limit": 100, "next": null },
    })
}

fn text(status: Value) -> String {
    let mut out = Vec::new();
    write(&mut out, &serde_json::from_value(status).unwrap(), None).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_replica_that_pauses_still_tells_what_it_knows() {
    let paused = text(status("paused", false));
    for part in [
        "1: paused, last known leader copycat-0_7\nthe Lease can't be renewed",
        "1 of 5 images mirrored, 3 at the target but unverified, for 4 workloads; 1 missing\n",
        "missing  cooldown  2 s    m.example/redis:7\n",
        "not found (2 failed attempts)\n    next attempt at 2026-11-28T07:28:00Z, in 50 s\n",
    ] {
        assert!(paused.contains(part), "{part}\n{paused}");
    }
    let standby = text(status("standby", false));
    assert!(standby.starts_with("k8s-copycat 1: standby; copycat-0_7 leads and knows the images\n"), "{standby}");
    assert!(!standby.contains("mirrored"), "{standby}");
}

#[test]
fn quotas_and_interrupted_watches_are_told() {
    let mut status = status("mirroring", true);
    let registry = |left: u64, limit: Value| {
        json!({
            "registry": format!("r{left}"), "requests": 1, "failed": 0, "since": null, "lastFailure": null,
            "pullsLeft": left, "pullsLimit": limit, "pullsLeftAt": null, "throttled": 0,
        })
    };
    status["registries"] = json!([registry(0, json!(100)), registry(7, Value::Null)]);
    status["registries"][1]["imagesFailing"] = json!(2);
    let watch = |resource: &str, since: &str| json!({ "resource": resource, "interruptions": 2, "since": since, "last": "2026-11-28T07:26:00Z" });
    status["watches"] = json!([watch("jobs", "2026-11-28T07:21:00Z"), watch("pods", "2026-11-28T07:20:00Z")]);
    let text = text(status);
    for part in [
        "watches interrupted from 2026-11-28T07:20:00Z to 2026-11-28T07:26:00Z, so that changes are noticed late: jobs, pods\n",
        "r0: 0 of 100 pulls left\n",
        "r7: 2 images fail; 7 pulls left\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn what_happens_next_is_told_of_every_image_that_is_not_mirrored() {
    let after = |state: &str, activity: &str| {
        let mut status = status("mirroring", true);
        status["images"][0]["nextTry"] = Value::Null;
        (status["images"][0]["state"], status["images"][0]["activity"]) = (json!(state), json!(activity));
        text(status)
    };
    for (state, activity, expected) in [
        ("conflict", "idle", "next attempt in the next pass, periodic or forced, or when a workload"),
        ("undecided", "idle", "next attempt when the workload or the configuration changes"),
        ("unknown", "copying", "source and target are being inspected"),
    ] {
        let text = after(state, activity);
        assert!(text.contains(&format!("    {expected}")), "{expected}\n{text}");
    }
    assert!(!after("conflict", "waiting").contains("next attempt"));
}

#[test]
fn the_owner_of_a_destination_is_named_once() {
    let mut status = status("mirroring", true);
    let owner = "quay.io/redis:7 of deployment a/b";
    status["images"][0]["owner"] = json!(owner);
    let named = |status: &Value| text(status.clone()).matches(owner).count();
    assert_eq!(named(&status), 1);
    status["images"][0]["reason"] = json!(format!("conflict: redis:7 and {owner} are different images"));
    assert_eq!(named(&status), 1);
}
