//! The operations about one participant: `GetParticipant` and `ListParticipantEvents`.

use serde_json::{Value, json};

use crate::faults::Kind;
use crate::ivs::listing::Item;
use crate::ivs::request::{Refusal, members, name, participant_id, refusal};
use crate::ivs::world::World;

const MEMBERS: [&str; 3] = ["stageArn", "sessionId", "participantId"];

impl World {
    /// The members of the summary and the details.
    pub(crate) fn get_participant(&mut self, body: &Value) -> Result<Value, Refusal> {
        members(body, &MEMBERS)?;
        let (name, id) = (name(body)?, participant_id(body)?);
        let found = self.participant(&name, &id);
        let Some((who, details)) = found.and_then(|who| Some((who, who.details.as_ref()?))) else {
            let message = format!("{} has no participant {id} in {}", name.0, name.1);
            return Err(refusal(404, "ResourceNotFoundException", message));
        };
        let (mut participant, details) = (json!(who), json!(details));
        if let (Value::Object(participant), Value::Object(details)) = (&mut participant, details) {
            participant.extend(details);
        }
        Ok(json!({ "participant": participant }))
    }

    /// The events of one participant. The operation declares no 404, and no documentation says what it answers for a
    /// participant or a session that the service does not know. Here it is an empty list.
    pub(crate) fn list_participant_events(
        &mut self,
        body: &Value,
        faults: &[Kind],
    ) -> Result<Value, Refusal> {
        members(body, &[&MEMBERS[..], &["maxResults", "nextToken"]].concat())?;
        let (name, id) = (name(body)?, participant_id(body)?);
        let events = self
            .participant(&name, &id)
            .map_or(0, |who| who.events.len());
        let page = self.listings.page(
            "ListParticipantEvents",
            format!("{} {} {id}", name.0, name.1),
            self.calls.len(),
            body,
            faults,
            || (0..events).map(Item::Event).collect(),
        )?;
        let events = match self.participant(&name, &id) {
            Some(who) => &who.events[..],
            None => &[],
        };
        Ok(page.json("events", |item| match item {
            Item::Event(place) => events.get(*place).map(|event| json!(event)),
            Item::Stage(_) | Item::Session(_) | Item::Participant(_) => None,
        }))
    }
}
