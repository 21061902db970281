//! The status page in a real Chromium.

mod browser;
mod program;
mod replica;

use std::{fs, path::PathBuf};

use fantoccini::{Locator, key::Key};

use crate::support::{eventually, program};
use browser::Browser;

const SCHEMES: [&str; 2] = ["light", "dark"];
const WIDTHS: [u32; 2] = [1280, 390];

/// The script that tells what a page does to people who don't see it or use no mouse.
fn axe() -> String {
    let file = program("axe.min.js");
    fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}: run tests/drills/install-axe", file.display()))
}

/// Where pictures are kept.
fn pictures() -> PathBuf {
    let folder = std::env::temp_dir().join("k8s-copycat-pictures");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// What this browser did since the last call stayed on the server, and nothing complained.
async fn assert_quiet(browser: &Browser, base: &str, expected_errors: &[&str]) {
    let console = browser.console().await;
    let unexpected: Vec<_> =
        console.iter().filter(|line| !expected_errors.iter().any(|part| line.contains(part))).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    let requests = browser.requests().await;
    assert!(!requests.is_empty());
    let foreign: Vec<_> = requests.iter().filter(|url| !url.starts_with(base) && *url != "data:,").collect();
    assert!(foreign.is_empty(), "{foreign:#?}");
}

/// The text of an element; empty while there is none, as between two pages.
async fn text_of(browser: &Browser, selector: &str) -> String {
    match browser.client.find(Locator::Css(selector)).await {
        Ok(element) => element.text().await.unwrap_or_default(),
        Err(_) => String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_readable_in_both_schemes_and_widths() {
    let leader = format!("http://{}", replica::serve(150).await);
    let standby = format!("http://{}", replica::serve_standby().await);
    let destination = "mirror.example%2Fmirror%2Fquay.io%2Fprometheus%2Fnode-exporter%3Av1.9.1";
    let pages = [
        ("overview", format!("{leader}/"), ""),
        ("filtered", format!("{leader}/?state=missing&namespace=shop"), ""),
        ("image", format!("{leader}/image?destination={destination}"), ""),
        ("standby", format!("{standby}/"), ""),
        ("problem", format!("{leader}/?state=down"), "status of 400"),
    ];
    let browser = Browser::start().await;
    for (name, url, expected_error) in &pages {
        for scheme in SCHEMES {
            for width in WIDTHS {
                browser.look(width, scheme).await;
                browser.client.goto(url).await.unwrap();
                let widest = browser.run("return document.documentElement.scrollWidth").await;
                assert!(widest.as_u64() <= Some(u64::from(width)), "{name} at {width}: {widest}");
                let findings = browser.serious_findings(&axe()).await;
                assert!(findings.is_empty(), "{name}, {scheme}, {width}: {findings:#?}");
                let picture = pictures().join(format!("{name}-{scheme}-{width}.png"));
                fs::write(picture, browser.picture().await).unwrap();
                let base = url.split_inclusive('/').take(3).collect::<String>();
                let expected: &[&str] = if expected_error.is_empty() { &[] } else { &[expected_error] };
                assert_quiet(&browser, &base, expected).await;
            }
        }
    }
    eprintln!("pictures: {}", pictures().display());
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_images_are_shown_and_searched() {
    let base = format!("http://{}/", replica::serve(20_000).await);
    let browser = Browser::start().await;
    browser.look(1280, "light").await;
    browser.client.goto(&base).await.unwrap();
    let first_paint = browser.first_paint().await;
    assert_eq!(
        text_of(&browser, "#headline").await,
        "20,000 of 20,008 images are mirrored, 1 at the target but unverified"
    );
    assert!(text_of(&browser, ".found").await.starts_with("1–100 of 20,010 images."));

    let field = browser.client.find(Locator::Css("#f-text")).await.unwrap();
    field.send_keys("service-1999").await.unwrap();
    field.send_keys(&Key::Enter.to_string()).await.unwrap();
    eventually("the answer", || async {
        text_of(&browser, ".found").await.starts_with("11 images match.").then_some(())
    })
    .await;
    let answer = browser.run("return performance.getEntriesByType('navigation')[0].responseEnd").await;
    let url = browser.client.current_url().await.unwrap();
    assert_eq!(url.query(), Some("text=service-1999"), "fields without a value are left out");

    browser.client.find(Locator::Css("a[rel=next], .c-image a")).await.unwrap().click().await.unwrap();
    eventually("the story", || async { text_of(&browser, "h1").await.contains("/service-1999").then_some(()) }).await;
    let build = if cfg!(debug_assertions) { "a debug build" } else { "a release build" };
    eprintln!("20,000 images, {build}: first paint after {first_paint:.0} ms, a filter's answer after {answer} ms");
    assert_quiet(&browser, &base, &[]).await;
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_texts_from_outside_stay_text() {
    let base = format!("http://{}/", replica::serve(3).await);
    let browser = Browser::start().await;
    browser.client.goto(&format!("{base}?text=%22%3E%3Cscript%3Ealert(2)%3C/script%3E")).await.unwrap();
    let typed = browser.client.find(Locator::Css("#f-text")).await.unwrap().prop("value").await.unwrap();
    assert_eq!(typed.as_deref(), Some("\"><script>alert(2)</script>"));
    browser.client.goto(&format!("{base}?state=undecided")).await.unwrap();
    let link = browser.client.find(Locator::Css(".c-image a")).await.unwrap();
    assert_eq!(link.text().await.unwrap(), replica::EVIL);
    assert!(text_of(&browser, ".reason").await.contains("<b>invalid</b>\\u{202e}"));
    link.click().await.unwrap();
    eventually("the story", || async { (text_of(&browser, "h1").await == replica::EVIL).then_some(()) }).await;
    assert_eq!(browser.run("return document.scripts.length").await, 1);
    assert_quiet(&browser, &base, &[]).await;
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_keeps_focus_and_what_was_typed() {
    let base = format!("http://{}/", replica::serve(3).await);
    let browser = Browser::start().await;
    browser.client.goto(&base).await.unwrap();
    let as_of = "#replica time";
    let before = text_of(&browser, as_of).await;
    browser.client.find(Locator::Css("#f-namespace")).await.unwrap().send_keys("half a na").await.unwrap();
    browser
        .run("document.querySelector('.total.bad').focus(); window.marked = document.querySelector('.totals');")
        .await;
    eventually("a refresh", || async { (text_of(&browser, as_of).await != before).then_some(()) }).await;
    let focused = browser.run("return document.activeElement.className").await;
    assert_eq!(focused, "total bad");
    let typed = browser.client.find(Locator::Css("#f-namespace")).await.unwrap().prop("value").await.unwrap();
    assert_eq!(typed.as_deref(), Some("half a na"));

    browser.client.find(Locator::Css(".pause")).await.unwrap().click().await.unwrap();
    assert_eq!(text_of(&browser, ".pause").await, "Resume updates");
    assert_quiet(&browser, &base, &[]).await;
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_without_scripts() {
    let base = format!("http://{}/", replica::serve(150).await);
    let browser = Browser::start().await;
    browser.without_scripts().await;
    browser.client.goto(&base).await.unwrap();
    assert!(!browser.client.find(Locator::Css(".pause")).await.unwrap().is_displayed().await.unwrap());
    let field = browser.client.find(Locator::Css("#f-text")).await.unwrap();
    field.send_keys("node-exporter").await.unwrap();
    browser.client.find(Locator::Css(".buttons button")).await.unwrap().click().await.unwrap();
    eventually("the answer", || async {
        text_of(&browser, ".found").await.starts_with("1 image matches.").then_some(())
    })
    .await;
    browser.client.find(Locator::Css(".c-image a")).await.unwrap().click().await.unwrap();
    eventually("the story", || async { text_of(&browser, "h1").await.contains("node-exporter").then_some(()) }).await;
    assert_quiet(&browser, &base, &[]).await;
    browser.end().await;
}
