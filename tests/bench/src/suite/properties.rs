//! CPU time per set property, in portals with many properties.

use super::{
    Scale,
    end_to_end::{FirstSync, first_sync},
};
use crate::{
    result::{Goal, Reading},
    system::{Servers, System},
};

/// Number of properties of the portal, and average number set on an object.
const PORTALS: [(u32, u32); 3] = [(49, 35), (300, 210), (1_000, 40)];

pub(super) async fn run(servers: &Servers, scale: Scale) -> anyhow::Result<Vec<Reading>> {
    let contacts: u32 = scale.of(500, 30_000, 100_000);
    let (mut readings, mut usual) = (Vec::new(), None);
    for (properties, set) in PORTALS {
        let builder = System::of(contacts)
            .simulator("HUBSPOT_SIM_DISTINCT", "5000")
            .simulator("HUBSPOT_SIM_PROPERTIES", &properties.to_string())
            .simulator("HUBSPOT_SIM_SET_PROPERTIES", &set.to_string());
        let FirstSync { seconds, used, .. } = first_sync(servers, builder, contacts).await?;
        let values = f64::from(contacts) * f64::from(set);
        // CPU time on both cores.
        let cost = used.services(|it| it.cpu_seconds) / values * 1e9;
        let name = format!("{properties} properties, {set} set");
        let rate = f64::from(contacts) / seconds;
        readings.push(Reading::new(format!("{name}: records"), rate, "records/s"));
        let cost = Reading::new(format!("{name}: CPU for a set value"), cost, "ns");
        readings.push(match usual {
            None => cost.clone(),
            Some(usual) => cost.clone().against(usual).goal(Goal::RatioAtMost(1.5)),
        });
        usual = usual.or(Some(cost.value));
    }
    Ok(readings)
}
