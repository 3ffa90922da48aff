//! What HubSpot does not have for an object type, against the simulator.

use hubspot_sim::{Fault, FaultBody, Kind, Rule};

use super::{
    simulator::{TestAccount, portal},
    *,
};
use crate::sync::Capability;

#[tokio::test]
async fn objects_are_read_one_by_one_where_there_is_no_batch_read() {
    let account = TestAccount::of(portal()).await;
    let source = account.source("file:key", |_| {});
    let refusal = Fault::Status {
        code: 405,
        body: FaultBody::Json,
        retry_after: None,
    };
    let faults = account.simulator.faults();
    faults.push(Rule::next(Kind::BatchRead, refusal).always());
    let ids: Vec<i64> = account.simulator.portal().ids("contacts")[..20]
        .iter()
        .map(|id| i64::try_from(*id).unwrap())
        .collect();
    let properties = definitions(&["email"]);
    let asked = [&ids[..], &[1]].concat();
    let failed = source
        .batch_read("contacts", &asked, false, &properties)
        .await;
    assert_eq!(
        failed.unwrap_err().error.advice,
        Advice::DoWithout(Capability::BatchRead)
    );
    let read = source
        .read_each("contacts", &asked, false, &properties)
        .await;
    let read = read.unwrap().value;
    assert_eq!(read.missing, [1]);
    assert_eq!(super::ids(&read.objects), ids);
    assert!(
        read.objects
            .iter()
            .any(|it| it.properties.iter().count() > 0)
    );
    // So are the objects of a page whose properties do not fit into a URL.
    let wide = account.source("file:key", |config| config.longest_url = 150);
    let page = wide.list("contacts", FIRST, &properties).await.unwrap();
    assert_eq!(page.value.objects.len(), 100);
}
