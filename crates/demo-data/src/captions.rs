//! Captions of a scene: five that differ in content and wording.
//!
//! A caption mentions only what is visible, and omits some of it, as people's captions do. Captions
//! end in " ." like those of Flickr8k.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::kinds::{Hue, Kind};
use crate::scene::{Arrangement, Extent, Place, Scene, Side, Thing, pick};

/// Captions per image.
pub(crate) const CAPTIONS: usize = 5;

/// Returns five captions of `scene`.
pub(crate) fn captions(scene: &Scene, random: &mut ChaCha8Rng) -> [String; CAPTIONS] {
    let mut writer = Writer::new(scene, random);
    let mut forms: Vec<usize> = (0..FORMS).collect();
    forms.shuffle(writer.random);
    std::array::from_fn(|index| {
        let form = forms.get(index).copied().unwrap_or(0);
        let words = match (scene.arrangement, scene.things.as_slice()) {
            (Arrangement::Several, [thing]) => writer.several(thing, form),
            (Arrangement::Alone(side), [thing]) => writer.alone(thing, side, form),
            (Arrangement::Beside, [left, right]) => writer.beside(left, right, form),
            (_, [upper, lower]) => writer.above(upper, lower, form),
            _ => String::new(),
        };
        writer.sentence(&words)
    })
}

/// Wordings of each arrangement; an image uses each at most once.
const FORMS: usize = 7;

pub(crate) struct Writer<'s> {
    scene: &'s Scene,
    random: &'s mut ChaCha8Rng,
}

impl<'s> Writer<'s> {
    pub(crate) fn new(scene: &'s Scene, random: &'s mut ChaCha8Rng) -> Self {
        Self { scene, random }
    }

    fn alone(&mut self, thing: &Thing, side: Side, form: usize) -> String {
        let it = self.phrase(thing);
        let place = self.place(thing.kind);
        let does = self.verb(thing.kind, false);
        match form {
            0 => format!("{} {does} {place}", a(&it)),
            1 => format!("there is {} {place}", a(&it)),
            2 => format!("{place} , {} {does}", a(&it)),
            3 => format!("{} {} {place}", a(&it), self.side(side)),
            4 => format!("{} {place} {}", a(&it), self.setting()),
            5 => format!("{it} {place}"),
            _ => format!("{} {does} {}", a(&it), self.setting()),
        }
    }

    fn several(&mut self, thing: &Thing, form: usize) -> String {
        let them = self.plural(thing);
        let place = self.place(thing.kind);
        let do_ = self.verb(thing.kind, true);
        let number = if thing.feet.len() == 2 { "two" } else { "three" };
        let group = match thing.feet.len() {
            2 => pick(self.random, &["a pair of", "a couple of"]),
            _ => pick(self.random, &["a group of three", "a row of three"]),
        };
        match form {
            0 => format!("{number} {them} {do_} {place}"),
            1 => format!("there are {number} {them} {place}"),
            2 => format!("{place} , {number} {them} {do_} side by side"),
            3 => format!("{group} {them} {place}"),
            4 => format!("{number} {them} {place} {}", self.setting()),
            5 => format!("{number} {them} next to each other {place}"),
            _ => format!("{group} {them} {}", self.setting()),
        }
    }

    fn beside(&mut self, left: &Thing, right: &Thing, form: usize) -> String {
        let (one, other) = (self.phrase(left), self.phrase(right));
        let place = self.place(left.kind);
        let does = self.verb(left.kind, false);
        let near = pick(self.random, &["next to", "beside", "near"]);
        match form {
            0 => format!("{} {does} to the left of {} {place}", a(&one), a(&other)),
            1 => format!("{} and {} {place}", a(&one), a(&other)),
            2 => format!("{} is to the right of {}", a(&other), a(&one)),
            3 => format!("{place} , {} {does} {near} {}", a(&one), a(&other)),
            4 => format!("there is {} {near} {} {place}", a(&other), a(&one)),
            5 => format!("{} on the left and {} on the right", a(&one), a(&other)),
            _ => format!("{} {near} {} {}", a(&one), a(&other), self.setting()),
        }
    }

    fn above(&mut self, upper: &Thing, lower: &Thing, form: usize) -> String {
        let (one, other) = (self.phrase(upper), self.phrase(lower));
        let place = self.place(lower.kind);
        let (flies, stands) = (self.verb(upper.kind, false), self.verb(lower.kind, false));
        let over = pick(self.random, &["above", "over"]);
        let under = pick(self.random, &["under", "below", "beneath"]);
        match form {
            0 => format!("{} {flies} {over} {} {place}", a(&one), a(&other)),
            1 => format!("{} {stands} {under} {} {place}", a(&other), a(&one)),
            2 => format!("{place} , {} is {over} {}", a(&one), a(&other)),
            3 => format!("{} and {} {place}", a(&one), a(&other)),
            4 => format!("there is {} {over} {}", a(&one), a(&other)),
            5 => format!("{} {flies} high {over} {}", a(&one), a(&other)),
            _ => format!("{} {under} {} {}", a(&other), a(&one), self.setting()),
        }
    }

    /// Returns the thing with its colour, and its size if it is unusual: "small red ball".
    fn phrase(&mut self, thing: &Thing) -> String {
        let noun = pick(self.random, nouns(thing.kind, thing.extent));
        let color = self.color(thing.hue);
        if thing.kind.is_person() {
            return format!("{noun} in {}", a(&format!("{color} {}", garment(thing.kind))));
        }
        match thing.extent {
            // With two or three things the size comes from the arrangement, so no caption mentions
            // it.
            _ if self.scene.arrangement_sets_size() => format!("{color} {noun}"),
            Extent::Usual => format!("{color} {noun}"),
            Extent::Small => {
                format!("{} {color} {noun}", pick(self.random, &["small", "little", "tiny"]))
            }
            Extent::Big => {
                format!("{} {color} {noun}", pick(self.random, &["big", "large", "huge"]))
            }
        }
    }

    /// Returns a plural noun for things of one kind.
    pub(crate) fn nouns_of_several(&mut self, thing: &Thing) -> String {
        match pick(self.random, nouns(thing.kind, thing.extent)) {
            "man" => "men".to_owned(),
            "woman" => "women".to_owned(),
            "child" => "children".to_owned(),
            "person" => "people".to_owned(),
            "lady" => "ladies".to_owned(),
            "puppy" => "puppies".to_owned(),
            noun => format!("{noun}s"),
        }
    }

    fn plural(&mut self, thing: &Thing) -> String {
        let nouns = self.nouns_of_several(thing);
        let color = self.color(thing.hue);
        if thing.kind.is_person() {
            let clothes = match garment(thing.kind) {
                "dress" => "dresses",
                _ => "shirts",
            };
            return format!("{nouns} in {color} {clothes}");
        }
        format!("{color} {nouns}")
    }

    pub(crate) fn color(&mut self, hue: Hue) -> &'static str {
        match hue {
            Hue::Red => "red",
            Hue::Orange => "orange",
            Hue::Yellow => "yellow",
            Hue::Green => "green",
            Hue::Blue => "blue",
            Hue::Purple => pick(self.random, &["purple", "purple", "violet"]),
            Hue::Pink => "pink",
            Hue::White => "white",
            Hue::Grey => pick(self.random, &["grey", "grey", "gray"]),
            Hue::Black => "black",
            Hue::Brown => "brown",
        }
    }

    /// Returns a phrase for the place: "on the beach".
    fn place(&mut self, kind: Kind) -> &'static str {
        let phrases: &[&str] = match (self.scene.place, kind.flies()) {
            (Place::Grass, false) => {
                &["on the grass", "in a green field", "in a meadow", "on green grass"]
            }
            (Place::Grass, true) => &["over the grass", "above a green field", "over a meadow"],
            (Place::Beach, false) => {
                &["on the beach", "on the sand", "on a sandy beach", "by the sea"]
            }
            (Place::Beach, true) => {
                &["over the beach", "above the sand", "over a sandy beach", "by the sea"]
            }
            (Place::Snow, false) => {
                &["in the snow", "on the snow", "in a snowy field", "on the snowy ground"]
            }
            (Place::Snow, true) => {
                &["over the snow", "above a snowy field", "over the snowy ground"]
            }
            (Place::Night, false) => {
                &["at night", "in the dark", "under the stars", "in the moonlight"]
            }
            (Place::Night, true) => {
                &["in the night sky", "at night", "in the dark sky", "among the stars"]
            }
            (Place::Street, false) => {
                &["on the street", "on the road", "on a city street", "in the city"]
            }
            (Place::Street, true) => {
                &["over the street", "above a city street", "in the city", "over the road"]
            }
            (Place::Lake, false) => &["on the water", "on a lake", "on the blue water"],
            (Place::Lake, true) => &["over the water", "above a lake", "over the blue water"],
            (Place::Desert, false) => {
                &["in the desert", "on the orange sand", "in the sandy desert"]
            }
            (Place::Desert, true) => {
                &["over the desert", "above the orange sand", "in the orange sky"]
            }
            (Place::Room, false) => {
                &["in a room", "on the wooden floor", "inside a house", "indoors"]
            }
            (Place::Room, true) => &["in a room", "inside a house", "indoors"],
        };
        pick(self.random, phrases)
    }

    /// Returns a phrase for the setting: "under a cloudy sky".
    fn setting(&mut self) -> &'static str {
        let phrases: &[&str] = match (self.scene.place, self.scene.cloudy) {
            (Place::Grass, false) => &["on a sunny day", "in the sunshine", "under a blue sky"],
            (Place::Grass, true) => {
                &["on a cloudy day", "under a cloudy sky", "under white clouds"]
            }
            (Place::Beach, false) => {
                &["near the sea on a sunny day", "by the ocean under a blue sky"]
            }
            (Place::Beach, true) => {
                &["near the sea on a cloudy day", "by the ocean under white clouds"]
            }
            (Place::Snow, _) => {
                &["on a winter day", "in winter", "while it snows", "in front of snowy trees"]
            }
            (Place::Night, _) => &["under the moon", "on a dark night", "under a starry sky"],
            (Place::Street, _) => {
                &["in front of tall buildings", "in front of city buildings", "in a busy city"]
            }
            (Place::Lake, false) => &["near the hills on a sunny day", "under a blue sky"],
            (Place::Lake, true) => &["near the hills on a cloudy day", "under a cloudy sky"],
            (Place::Desert, _) => {
                &["at sunset", "under an orange sky", "in front of the setting sun"]
            }
            (Place::Room, _) => &["in front of a window", "near a window with red curtains"],
        };
        pick(self.random, phrases)
    }

    fn side(&mut self, side: Side) -> &'static str {
        match side {
            Side::Left => pick(self.random, &["on the left", "on the left side", "to the left"]),
            Side::Middle => pick(self.random, &["in the middle", "in the center"]),
            Side::Right => {
                pick(self.random, &["on the right", "on the right side", "to the right"])
            }
        }
    }

    fn verb(&mut self, kind: Kind, plural: bool) -> &'static str {
        let pairs: &[(&str, &str)] = match kind {
            Kind::Ball => &[("lies", "lie"), ("is lying", "are lying"), ("rests", "rest")],
            Kind::House | Kind::Tree => &[("stands", "stand"), ("is standing", "are standing")],
            Kind::Car => &[("is parked", "are parked"), ("stands", "stand"), ("waits", "wait")],
            Kind::Cat => &[("sits", "sit"), ("is sitting", "are sitting")],
            Kind::Dog | Kind::Boy | Kind::Girl | Kind::Man | Kind::Woman => {
                &[("stands", "stand"), ("is standing", "are standing"), ("waits", "wait")]
            }
            Kind::Tent => &[("stands", "stand"), ("is set up", "are set up")],
            Kind::Boat => &[("floats", "float"), ("sails", "sail"), ("is sailing", "are sailing")],
            Kind::Balloon => {
                &[("floats", "float"), ("is floating", "are floating"), ("hangs", "hang")]
            }
            Kind::Kite => &[("flies", "fly"), ("is flying", "are flying")],
        };
        let (one, many) = pick(self.random, pairs);
        if plural { many } else { one }
    }

    /// Ends the words in " ." and capitalizes seven of eight sentences.
    fn sentence(&mut self, words: &str) -> String {
        let mut letters = words.chars();
        let capital = self.random.random_range(0..8) > 0;
        match letters.next() {
            Some(first) if capital => format!("{}{} .", first.to_uppercase(), letters.as_str()),
            _ => format!("{words} ."),
        }
    }
}

impl Scene {
    /// Returns whether the sizes follow from the arrangement.
    fn arrangement_sets_size(&self) -> bool {
        !matches!(self.arrangement, Arrangement::Alone(_))
    }
}

/// Adds the indefinite article.
fn a(phrase: &str) -> String {
    let article = if phrase.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {phrase}")
}

fn garment(kind: Kind) -> &'static str {
    if matches!(kind, Kind::Girl | Kind::Woman) { "dress" } else { "shirt" }
}

/// Returns nouns for a thing.
pub(crate) fn nouns(kind: Kind, extent: Extent) -> &'static [&'static str] {
    match kind {
        Kind::Dog if extent == Extent::Big => &["dog"],
        Kind::Cat if extent == Extent::Big => &["cat"],
        Kind::Ball => &["ball"],
        Kind::House => &["house", "house", "cottage"],
        Kind::Tree => &["tree"],
        Kind::Car => &["car", "car", "vehicle"],
        Kind::Dog => &["dog", "dog", "puppy"],
        Kind::Cat => &["cat", "cat", "kitten"],
        Kind::Boy => &["boy", "young boy", "child"],
        Kind::Girl => &["girl", "young girl", "child"],
        Kind::Man => &["man", "man", "person"],
        Kind::Woman => &["woman", "lady", "person"],
        Kind::Tent => &["tent"],
        Kind::Boat => &["boat", "sailboat"],
        Kind::Balloon => &["balloon"],
        Kind::Kite => &["kite"],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;

    use super::*;

    /// Returns the words for a thing's colour, and the singular or plural nouns for the thing.
    fn words(thing: &Thing) -> (Vec<String>, Vec<String>) {
        let colors = match thing.hue {
            Hue::Grey => vec!["grey".to_owned(), "gray".to_owned()],
            Hue::Purple => vec!["purple".to_owned(), "violet".to_owned()],
            hue => vec![format!("{hue:?}").to_lowercase()],
        };
        let mut names = Vec::new();
        for noun in nouns(thing.kind, thing.extent) {
            let last = noun.split(' ').next_back().unwrap_or(noun);
            let many = match last {
                "man" => "men".to_owned(),
                "woman" => "women".to_owned(),
                "child" => "children".to_owned(),
                "person" => "people".to_owned(),
                other if other.ends_with('y') && other != "boy" => other.replace('y', "ies"),
                other => format!("{other}s"),
            };
            names.push(if thing.feet.len() > 1 { many } else { last.to_owned() });
        }
        (colors, names)
    }

    fn position(caption: &[String], any: &[String]) -> Option<usize> {
        caption.iter().position(|word| any.contains(word))
    }

    fn each_caption(mut check: impl FnMut(&Scene, &str, &[String])) {
        for seed in 0..3000 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let scene = Scene::random(&mut random);
            let five = captions(&scene, &mut random);
            assert_eq!(five.iter().collect::<HashSet<_>>().len(), CAPTIONS, "{five:?}");
            for caption in five {
                let words: Vec<String> =
                    caption.to_lowercase().split(' ').map(str::to_owned).collect();
                check(&scene, &caption, &words);
            }
        }
    }

    #[test]
    fn every_caption_names_each_thing_and_its_colour() {
        each_caption(|scene, caption, said| {
            for thing in &scene.things {
                let (colors, names) = words(thing);
                assert!(position(said, &colors).is_some(), "no {colors:?}: {caption}");
                assert!(position(said, &names).is_some(), "no {names:?}: {caption}");
            }
        });
    }

    #[test]
    fn relations_and_sides_are_said_of_the_right_thing() {
        let mut seen = HashSet::new();
        each_caption(|scene, caption, said| {
            let order = |first: usize, second: usize| {
                let of = |index: usize| position(said, &words(&scene.things[index]).1);
                of(first) <= of(second)
            };
            let mut says = |phrase: &str| {
                let found = caption.contains(phrase);
                if found {
                    seen.insert(phrase.to_owned());
                }
                found
            };
            match scene.arrangement {
                Arrangement::Alone(side) => {
                    for (word, its) in
                        [("left", Side::Left), ("right", Side::Right), ("middle", Side::Middle)]
                    {
                        assert!(!says(word) || side == its, "{side:?}: {caption}");
                    }
                }
                Arrangement::Several => {
                    let three = scene.things[0].feet.len() == 3;
                    assert_eq!(said.contains(&"three".to_owned()), three, "{caption}");
                }
                Arrangement::Beside => {
                    assert!(!says("to the left of") || order(0, 1), "{caption}");
                    assert!(!says("to the right of") || order(1, 0), "{caption}");
                    assert!(!says("on the left and") || order(0, 1), "{caption}");
                }
                Arrangement::Above => {
                    for word in [" above a", " over a"] {
                        assert!(!says(word) || order(0, 1), "{caption}");
                    }
                    for word in [" under a", " below a", " beneath a"] {
                        assert!(!says(word) || order(1, 0), "{caption}");
                    }
                }
            }
        });
        assert_eq!(seen.len(), 11, "{seen:?}");
    }

    #[test]
    fn captions_read_like_flickr8ks() {
        each_caption(|_, caption, said| {
            assert!(caption.ends_with(" ."), "{caption}");
            assert!(!caption.contains("  "), "{caption}");
            assert!((4..=24).contains(&said.len()), "{caption}");
            for pair in said.windows(2) {
                let vowel = pair[1].starts_with(['a', 'e', 'i', 'o', 'u']);
                assert!(pair[0] != "a" || !vowel, "{caption}");
                assert!(pair[0] != "an" || vowel, "{caption}");
            }
        });
    }
}
