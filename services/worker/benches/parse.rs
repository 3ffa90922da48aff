//! Time to parse a page of the list from HubSpot's JSON into objects. Without
//! `--bench` it runs once, as a test.
#![expect(clippy::expect_used, reason = "a benchmark fails by panicking")]

use divan::{Bencher, black_box, counter::ItemsCount};
use hubspot_sim::{Config, PortalConfig, Quirks, Simulator};

fn main() {
    divan::main();
}

/// The number of properties of the portal, and how many of them an object has set.
const PORTALS: [(u16, u16); 3] = [(49, 35), (300, 210), (1_000, 40)];

#[divan::bench(args = PORTALS)]
fn page_of_100(bencher: Bencher<'_, '_>, portal: (u16, u16)) {
    let page = page(portal);
    bencher
        .counter(ItemsCount::new(100_usize))
        .bench(|| worker::parse_list_page(black_box(&page)).expect("a page of the list"));
}

/// A page as the simulator writes it, with all properties.
fn page((properties, set_properties): (u16, u16)) -> Vec<u8> {
    let config = Config {
        portals: vec![PortalConfig {
            contacts: 200,
            companies: 0,
            properties,
            set_properties,
            limits: hubspot_sim::Limits::off(),
            // All properties in one request, which a real URL has no room for.
            quirks: Quirks {
                max_url: 100_000,
                ..Quirks::default()
            },
            ..PortalConfig::default()
        }],
        ..Config::default()
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let simulator = Simulator::start(config).await.expect("a simulator");
        let names = simulator.portal().property_names("contacts").join(",");
        let url = format!(
            "{}/crm/objects/2026-09/contacts?limit=100&properties={names}",
            simulator.base_url()
        );
        let http = reqwest::Client::builder().build().expect("a client");
        let request = http.get(url).bearer_auth("demo-token");
        let answer = request.send().await.expect("an answer");
        let page = answer.bytes().await.expect("a page");
        simulator.shutdown().await;
        page.to_vec()
    })
}
