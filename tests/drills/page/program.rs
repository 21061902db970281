//! The page of the program itself, in a real cluster with real registries.

use fantoccini::Locator;

use super::{assert_quiet, browser::Browser, text_of};
use crate::{
    mirroring::single,
    support::{Access, Cluster, Fault, Program, Registry, Request, deployment, eventually, free_port},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_program_tells_what_failed_why_and_what_its_plugins_say() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let (source, target) = (Registry::distribution(Access::Anonymous).await, Registry::crane().await);
    for name in ["web", "broken"] {
        let reference = source.push(&format!("team/{name}"), "1", &single(name)).await;
        deployment(name).image(&reference).apply(&cluster.admin(), &namespace).await;
    }
    source.inject(100_000, |request: &Request| request.path.contains("/team/broken/"), Fault::Answer(503, vec![]));
    let [metrics, health] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let program = Program::new(&[]);
    let kubeconfig = cluster.kubeconfig(program.directory(), cluster.admin_token());
    let mut program = program
        .env("KUBECONFIG", kubeconfig)
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", target.host())
        .env("INCLUDE_NAMESPACES", &namespace)
        .env("WATCH_RESOURCES", "deployments")
        .config("registryRetryAttempts: 1")
        .arg(format!("--metrics-bind-address={metrics}"))
        .arg(format!("--health-probe-bind-address={health}"))
        .start_at(metrics.clone(), health);
    program.ready().await;

    let browser = Browser::start().await;
    let base = format!("http://{metrics}/");
    eventually("one image is mirrored, and the other is not", || async {
        browser.client.goto(&base).await.unwrap();
        let concerns = text_of(&browser, "#concerns").await;
        let headline = text_of(&browser, "#headline").await;
        (headline == "1 of 2 images are mirrored" && concerns.contains("1 image is missing")).then_some(())
    })
    .await;
    assert!(text_of(&browser, "#concerns").await.contains(&format!("requests to {} failed since", source.host())));
    assert!(text_of(&browser, ".images tbody tr:first-child").await.contains("broken"), "the worst comes first");

    browser.client.find(Locator::Css(".c-image a")).await.unwrap().click().await.unwrap();
    eventually("the story", || async { text_of(&browser, "h1").await.contains("/team/broken:1").then_some(()) }).await;
    let story = text_of(&browser, ".story").await;
    for part in
        ["missing", "503", "Failing since", "Next try", &format!("{namespace}/broken"), "mirror to", "path-mapping"]
    {
        assert!(story.contains(part), "{part}: {story}");
    }
    assert_quiet(&browser, &base, &[]).await;
    browser.end().await;
}
