//! Alt texts: short texts of images, like those on the web that CLIP is trained on.
//!
//! An alt text has a few words on one visible fact: a thing and its kind, its colour, the place,
//! the weather, the time of day, or an activity. Some stand alone, and some have the form "picture
//! of X.", in which keywords are compared with images.

use rand_chacha::ChaCha8Rng;

use crate::captions::{Writer, nouns};
use crate::kinds::Kind;
use crate::scene::{Place, Scene, Thing, pick};

/// Returns `count` texts of `scene`, drawn independently of each other.
pub(crate) fn alt_texts(scene: &Scene, count: usize, random: &mut ChaCha8Rng) -> Vec<String> {
    (0..count).map(|_| AltTextWriter { scene, random }.text()).collect()
}

struct AltTextWriter<'s> {
    scene: &'s Scene,
    random: &'s mut ChaCha8Rng,
}

impl AltTextWriter<'_> {
    fn text(&mut self) -> String {
        let things: Vec<&Thing> = self.scene.things.iter().collect();
        let thing = pick(self.random, &things);
        match pick(self.random, &[0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7]) {
            0 => {
                let name = self.name(thing);
                self.picture_of(&name)
            }
            1 => {
                let place = pick(self.random, places(self.scene.place));
                self.picture_of(place)
            }
            2 => {
                let kind = pick(self.random, kinds(thing.kind));
                self.picture_of(kind)
            }
            3 => self.subjects(),
            4 => self.time().unwrap_or_else(|| self.colored(thing)),
            5 => self.weather(),
            6 if thing.kind.is_person() => self.clothes(thing),
            6 => self.colored(thing),
            _ => format!("activity is {}.", pick(self.random, activities(thing.kind))),
        }
    }

    /// Returns `what` alone or in a phrase such as "picture of X.".
    fn picture_of(&mut self, what: &str) -> String {
        pick(
            self.random,
            &["X", "picture of X.", "picture of X.", "a picture of X", "a photo of X"],
        )
        .replacen('X', what, 1)
    }

    /// Returns a noun for one thing, or the number and a plural for several.
    fn name(&mut self, thing: &Thing) -> String {
        let several = thing.feet.len();
        if several == 1 {
            return pick(self.random, nouns(thing.kind, thing.extent)).to_owned();
        }
        let number = if several == 2 { "two" } else { "three" };
        let names = Writer::new(self.scene, self.random).nouns_of_several(thing);
        if thing.kind.is_person() && pick(self.random, &[false, true]) {
            return format!("{number} people");
        }
        format!("{number} {names}")
    }

    fn colored(&mut self, thing: &Thing) -> String {
        let color = Writer::new(self.scene, self.random).color(thing.hue);
        if thing.kind.is_person() || pick(self.random, &[false, false, true]) {
            return color.to_owned();
        }
        format!("{color} {}", pick(self.random, nouns(thing.kind, thing.extent)))
    }

    fn clothes(&mut self, thing: &Thing) -> String {
        let color = Writer::new(self.scene, self.random).color(thing.hue);
        let color = if color == "grey" { "gray" } else { color };
        let piece = match thing.kind {
            Kind::Girl | Kind::Woman => pick(self.random, &["dress", "cloth"]),
            _ => "shirt",
        };
        format!("wearing {color} {piece}")
    }

    /// Names all subjects of the image, in the words of the encyclopedia's first level.
    fn subjects(&mut self) -> String {
        let mut subjects: Vec<&str> = Vec::new();
        if self.scene.place != Place::Room {
            subjects.push("landscape");
        }
        for subject in ["people", "animal", "plant", "some object"] {
            if self.scene.things.iter().any(|thing| subject_of(thing.kind) == subject) {
                subjects.push(subject);
            }
        }
        format!("picture of {}.", subjects.join(" and "))
    }

    fn time(&mut self) -> Option<String> {
        let time = match self.scene.place {
            Place::Night => "night",
            Place::Desert => "evening",
            Place::Snow => "morning",
            Place::Street => "afternoon",
            Place::Grass | Place::Beach | Place::Lake => "mid day",
            Place::Room => return None,
        };
        Some(format!("picture during {time}."))
    }

    fn weather(&mut self) -> String {
        let words: &[&str] = match (self.scene.place, self.scene.cloudy) {
            (Place::Snow, _) => &["snowy", "winter"],
            (Place::Night, _) => &["starry", "dark"],
            (Place::Desert, _) => &["sunset"],
            (Place::Room, _) => &["indoor", "window"],
            (Place::Street, _) => &["overcast"],
            (Place::Grass | Place::Beach | Place::Lake, true) => &["cloudy", "clouds"],
            (Place::Grass | Place::Beach | Place::Lake, false) => &["sunny", "blue sky"],
        };
        let word = pick(self.random, words);
        self.picture_of(word)
    }
}

/// Returns names of a place.
fn places(place: Place) -> &'static [&'static str] {
    match place {
        Place::Grass => &["grassland", "grass", "field", "meadow"],
        Place::Beach => &["beach", "sand", "sea", "ocean"],
        Place::Snow => &["arctic", "snow", "ground"],
        Place::Night => &["sky", "star", "moon", "moonlight"],
        Place::Street => &["city landscape", "street", "road", "city", "building"],
        Place::Lake => &["wetland", "lake", "water"],
        Place::Desert => &["desert", "sand"],
        Place::Room => &["indoor", "room", "floor", "window"],
    }
}

/// Returns categories of a thing.
fn kinds(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Dog | Kind::Cat => &["animal", "mammal"],
        Kind::Boy | Kind::Girl => &["people", "child"],
        Kind::Man | Kind::Woman => &["people", "person"],
        Kind::Tree => &["plant", "tree"],
        Kind::House => &["house", "artifact"],
        Kind::Car | Kind::Boat => &["vehicle"],
        Kind::Tent => &["tent", "artifact"],
        Kind::Ball | Kind::Balloon | Kind::Kite => &["device", "toy"],
    }
}

fn subject_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Dog | Kind::Cat => "animal",
        Kind::Boy | Kind::Girl | Kind::Man | Kind::Woman => "people",
        Kind::Tree => "plant",
        _ => "some object",
    }
}

/// Returns activities of a thing: verbs of its captions, and their sub-category.
fn activities(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Cat => &["sit"],
        Kind::Boat => &["sail", "float", "moving"],
        Kind::Kite => &["fly", "moving"],
        Kind::Balloon => &["float", "hang", "moving"],
        Kind::Ball => &["lie", "rest"],
        Kind::Car => &["park"],
        Kind::Tent | Kind::House | Kind::Tree => &["stand"],
        Kind::Dog | Kind::Boy | Kind::Girl | Kind::Man | Kind::Woman => {
            &["stand", "wait", "standing"]
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn alt_texts_are_true_of_their_scene() {
        for seed in 0..400 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let scene = Scene::random(&mut random);
            let texts = alt_texts(&scene, 12, &mut random);
            assert_eq!(texts.len(), 12);
            let has = |kind: Kind| scene.things.iter().any(|thing| thing.kind == kind);
            for text in texts {
                assert!(!text.contains('X') && !text.is_empty(), "{text}");
                let is_true = |word: &str, truth: bool| {
                    let said = text.split([' ', '.']).any(|said| said == word);
                    assert!(!said || truth, "{word} in {text:?} of {scene:?}");
                };
                is_true("dog", has(Kind::Dog));
                is_true("animal", has(Kind::Dog) || has(Kind::Cat));
                is_true("night", scene.place == Place::Night);
                is_true("indoor", scene.place == Place::Room);
                is_true("beach", scene.place == Place::Beach);
                is_true("shirt", has(Kind::Man) || has(Kind::Boy));
                is_true("three", scene.things.iter().any(|thing| thing.feet.len() == 3));
            }
        }
    }
}
