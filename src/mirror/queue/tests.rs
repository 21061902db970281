use super::*;
use crate::mirror::testing::key;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn image(text: &str) -> Reference {
    text.parse().unwrap()
}

/// A queue with that cooldown, a destination and a source.
fn queue(cooldown: Option<Duration>) -> (Queue, DestinationKey, Reference, Instant) {
    (Queue::new(cooldown), key("a"), image("app:1"), Instant::now())
}

fn next(queue: &mut Queue) -> Option<DestinationKey> {
    queue.next(|_| 99).map(|next| next.key)
}

fn woken(queue: &mut Queue, now: Instant) {
    queue.wake(now, |_| Some("docker.io".to_owned()));
}

/// Requests it unless it is due, and lets it fail once.
fn fail(queue: &mut Queue, key: &DestinationKey, source: &Reference, retry: Retry, now: Instant) -> Duration {
    if !queue.is_due(key) {
        assert_eq!(queue.request(key, source, "docker.io", Cause::New, now), Admission::Queued);
    }
    assert_eq!(next(queue).as_ref(), Some(key));
    let pause = queue.failed(key, source, "no", retry, now);
    assert!(!queue.complete(key, "docker.io", false));
    pause
}

fn cooling(
    queue: &mut Queue,
    key: &DestinationKey,
    source: &Reference,
    cause: Cause,
    now: Instant,
) -> Option<Duration> {
    match queue.request(key, source, "docker.io", cause, now) {
        Admission::InCooldown { until, .. } => Some(until - now),
        Admission::Queued => None,
        Admission::Active => panic!("it is active"),
    }
}

#[test]
fn a_destination_is_worked_on_once_however_often_it_is_requested() {
    let (mut queue, a, app, now) = queue(Some(60 * MINUTE));
    queue.request(&a, &app, "docker.io", Cause::New, now);
    queue.request(&a, &app, "docker.io", Cause::New, now);
    assert_eq!(next(&mut queue), Some(a.clone()));
    assert_eq!(queue.request(&a, &app, "docker.io", Cause::New, now), Admission::Active);
    assert_eq!(next(&mut queue), None);
    queue.succeeded(&a, &app);
    assert!(!queue.complete(&a, "docker.io", false));
    assert_eq!(queue.lengths(), Lengths::default());
    assert!(queue.entries.is_empty());
}

#[test]
fn temporary_failures_are_retried_after_a_minute_doubling_up_to_the_cooldown() {
    let (mut queue, a, app, mut now) = queue(Some(5 * MINUTE));
    for pause in [1, 2, 4, 5, 5] {
        assert_eq!(fail(&mut queue, &a, &app, Retry::Soon, now), pause * MINUTE);
        assert!(cooling(&mut queue, &a, &app, Cause::Pass, now).is_some(), "a pass does not end it");
        now = queue.next_wake().unwrap();
        woken(&mut queue, now);
    }
}

#[test]
fn failures_that_need_a_fix_are_retried_after_seconds_doubling_up_to_the_cooldown() {
    let (mut queue, a, app, mut now) = queue(Some(1440 * MINUTE));
    for seconds in [15, 30, 60, 120, 240, 480] {
        assert_eq!(fail(&mut queue, &a, &app, Retry::Later, now), seconds * SECOND);
        now = queue.next_wake().unwrap();
        woken(&mut queue, now);
    }
    for _ in 0..20 {
        fail(&mut queue, &a, &app, Retry::Later, now);
        now = queue.next_wake().unwrap();
        woken(&mut queue, now);
    }
    assert_eq!(fail(&mut queue, &a, &app, Retry::Later, now), 1440 * MINUTE);
    assert_eq!(queue.lengths(), Lengths { cooling: 1, ..Lengths::default() });
    let all = |_: &DestinationKey| Some("docker.io".to_owned());
    assert_eq!(queue.reset_cooldown(all), Some(1));
    assert_eq!(fail(&mut queue, &a, &app, Retry::Later, now), 15 * SECOND, "it starts over");
    assert_eq!(queue.reset_cooldown(all), Some(1));
    assert_eq!(queue.reset_cooldown(all), Some(0));
}

/// Lets it fail so often that its cooldown is hours.
fn exhaust(queue: &mut Queue, key: &DestinationKey, source: &Reference, now: &mut Instant) {
    for _ in 0..20 {
        fail(queue, key, source, Retry::Later, *now);
        *now = queue.next_wake().unwrap();
        woken(queue, *now);
    }
    fail(queue, key, source, Retry::Later, *now);
}

#[test]
fn a_cooldown_is_per_source() {
    let (mut queue, a, app, mut now) = queue(Some(1440 * MINUTE));
    exhaust(&mut queue, &a, &app, &mut now);
    let other = image(&format!("app:1@sha256:{}", "1".repeat(64)));
    assert_eq!(cooling(&mut queue, &a, &other, Cause::New, now), None, "another digest is tried at once");
    assert_eq!(next(&mut queue), Some(a.clone()));
    assert!(queue.cooldown(&a, &app, now).is_some() && queue.cooldown(&a, &other, now).is_none());
    queue.succeeded(&a, &other);
    assert!(!queue.complete(&a, "docker.io", false));
    assert_eq!(queue.lengths(), Lengths { cooling: 1, ..Lengths::default() }, "the first stays in cooldown");
}

#[test]
fn a_new_request_shortens_a_cooldown() {
    let (mut queue, a, app, mut now) = queue(Some(1440 * MINUTE));
    exhaust(&mut queue, &a, &app, &mut now);
    now += 10 * SECOND;
    assert_eq!(cooling(&mut queue, &a, &app, Cause::New, now), Some(50 * SECOND), "but not below a minute");
    assert_eq!(queue.next_wake(), Some(now + 50 * SECOND));
    now += 50 * SECOND;
    assert_eq!(cooling(&mut queue, &a, &app, Cause::New, now), None);
}

#[test]
fn a_request_while_active_restarts_the_backoff() {
    let (mut queue, a, app, mut now) = queue(Some(1440 * MINUTE));
    exhaust(&mut queue, &a, &app, &mut now);
    now = queue.next_wake().unwrap();
    woken(&mut queue, now);
    assert_eq!(next(&mut queue), Some(a.clone()));
    assert_eq!(queue.request(&a, &app, "docker.io", Cause::New, now), Admission::Active);
    assert_eq!(queue.failed(&a, &app, "no", Retry::Later, now), 15 * SECOND, "it began before the fix");
}

#[test]
fn recreating_an_object_does_not_repeat_requests() {
    let (mut queue, a, app, now) = queue(Some(1440 * MINUTE));
    fail(&mut queue, &a, &app, Retry::Later, now);
    queue.forget(&a);
    assert_eq!(queue.lengths(), Lengths::default(), "it is not counted");
    assert_eq!(cooling(&mut queue, &a, &app, Cause::New, now), Some(15 * SECOND));
    queue.forget(&a);
    queue.wake(now + MINUTE, |_| None);
    assert!(queue.entries.is_empty() && queue.timers.is_empty());
}

#[test]
fn a_pass_resolves_the_tag_again_even_if_the_destination_is_active() {
    let (mut queue, a, app, now) = queue(None);
    queue.request(&a, &app, "docker.io", Cause::New, now);
    assert!(!queue.next(|_| 1).unwrap().resolve_tag);
    assert_eq!(queue.request(&a, &app, "docker.io", Cause::Pass, now), Admission::Active);
    queue.succeeded(&a, &app);
    assert!(queue.complete(&a, "docker.io", false), "the active copy did not resolve it");
    assert!(queue.next(|_| 1).unwrap().resolve_tag);
    assert!(!queue.complete(&a, "docker.io", false));
}

#[test]
fn retry_after_is_honoured_up_to_the_cooldown() {
    let (mut queue, a, app, now) = queue(Some(60 * MINUTE));
    assert_eq!(fail(&mut queue, &a, &app, Retry::After(10 * MINUTE), now), 10 * MINUTE);
    let now = queue.next_wake().unwrap();
    woken(&mut queue, now);
    assert_eq!(fail(&mut queue, &a, &app, Retry::After(600 * MINUTE), now), 60 * MINUTE);
}

#[test]
fn without_a_cooldown_a_new_request_ends_a_pause_and_nothing_can_be_reset() {
    let (mut queue, a, app, now) = queue(None);
    assert_eq!(fail(&mut queue, &a, &app, Retry::Soon, now), MINUTE, "it still backs off");
    assert_eq!(queue.reset_cooldown(|_| None), None);
    assert_eq!(cooling(&mut queue, &a, &app, Cause::New, now), None);
}

#[test]
fn a_released_destination_is_not_next() {
    let (mut queue, a, app, now) = queue(None);
    let b = key("b");
    queue.request(&a, &app, "docker.io", Cause::New, now);
    queue.request(&b, &app, "docker.io", Cause::New, now);
    queue.forget(&a);
    assert_eq!(next(&mut queue), Some(b));
    assert_eq!(queue.lengths(), Lengths { active: 1, ..Lengths::default() });
}

#[test]
fn a_pass_does_not_wait_for_a_paused_repair() {
    for cooldown in [Some(1440 * MINUTE), None] {
        let (mut queue, a, app, now) = queue(cooldown);
        queue.request(&a, &app, "docker.io", Cause::New, now);
        assert_eq!(next(&mut queue), Some(a.clone()));
        queue.postpone_repair(&a, &app, "the registry keeps its own", now + 60 * MINUTE, now);
        assert!(!queue.complete(&a, "docker.io", false));
        assert_eq!(queue.request(&a, &app, "docker.io", Cause::Pass, now), Admission::Queued);
        assert_eq!(next(&mut queue), Some(a.clone()));
        queue.postpone_repair(&a, &app, "the registry keeps its own", now + 60 * MINUTE, now);
        queue.complete(&a, "docker.io", false);
        woken(&mut queue, now + 60 * MINUTE);
    }
}

#[test]
fn a_postponed_source_has_not_failed() {
    let (mut queue, a, app, now) = queue(Some(1440 * MINUTE));
    queue.request(&a, &app, "docker.io", Cause::New, now);
    assert_eq!(next(&mut queue), Some(a.clone()));
    queue.postpone(&a, &app, "its registry does not answer", now + MINUTE, now);
    assert!(!queue.complete(&a, "docker.io", false));
    woken(&mut queue, now + MINUTE);
    assert_eq!(fail(&mut queue, &a, &app, Retry::Soon, now + MINUTE), MINUTE);
}
