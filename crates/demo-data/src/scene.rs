//! Contents of an image, from which it is painted and captioned.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use crate::kinds::{Hue, Kind};

/// Place where the scene is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Grass,
    Beach,
    Snow,
    Night,
    Street,
    Lake,
    Desert,
    Room,
}

impl Place {
    pub(crate) const ALL: [Self; 8] = [
        Self::Grass,
        Self::Beach,
        Self::Snow,
        Self::Night,
        Self::Street,
        Self::Lake,
        Self::Desert,
        Self::Room,
    ];

    /// Returns the kinds that may stand, lie or float on the ground there.
    fn below(self) -> &'static [Kind] {
        use Kind::{Ball, Boat, Boy, Car, Cat, Dog, Girl, House, Man, Tent, Tree, Woman};
        match self {
            Self::Grass => &[Ball, House, Tree, Dog, Cat, Boy, Girl, Man, Woman, Tent],
            Self::Beach => &[Ball, Dog, Boy, Girl, Man, Woman, Tent],
            Self::Snow => &[House, Tree, Dog, Boy, Girl, Man, Woman, Tent],
            Self::Night => &[House, Tree, Dog, Cat, Car, Tent],
            Self::Street => &[Car, Dog, Cat, Boy, Girl, Man, Woman, Ball],
            Self::Lake => &[Boat],
            Self::Desert => &[Car, Tent, Dog, Man, Woman],
            Self::Room => &[Ball, Dog, Cat, Boy, Girl, Man, Woman],
        }
    }

    /// Returns the kinds that may be in the air there.
    fn above(self) -> &'static [Kind] {
        match self {
            Self::Room | Self::Night | Self::Street => &[Kind::Balloon],
            _ => &[Kind::Balloon, Kind::Kite],
        }
    }

    /// Returns colours that are hard to see against the ground or the background.
    fn hides(self, kind: Kind) -> &'static [Hue] {
        use Hue::{Black, Blue, Brown, Green, Grey, Orange, Pink, Purple, Red, White, Yellow};
        match (self, kind.flies()) {
            (Self::Grass, false) => &[Green],
            (Self::Grass | Self::Beach | Self::Lake, true) => &[Blue, White],
            (Self::Beach, false) => &[Yellow, White],
            (Self::Snow, _) => &[White, Grey],
            (Self::Night, _) => &[Black, Blue, Purple, Brown, Green],
            (Self::Street, false) => &[Grey, Black],
            (Self::Street, true) => &[Grey, White, Blue],
            (Self::Lake, false) => &[Blue],
            (Self::Desert, _) => &[Orange, Brown, Yellow, Red, Pink],
            (Self::Room, false) => &[Brown, Orange],
            (Self::Room, true) => &[White, Yellow],
        }
    }
}

/// Size of a thing relative to its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Extent {
    Small,
    Usual,
    Big,
}

/// Thing in the image. Things of one kind and look are one thing with several positions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Thing {
    pub(crate) kind: Kind,
    pub(crate) hue: Hue,
    pub(crate) extent: Extent,
    /// Height in image widths.
    pub(crate) height: f32,
    /// Positions of the middle of the foot, or of the lower end for flying things.
    pub(crate) feet: Vec<(f32, f32)>,
    /// True if it looks to the left.
    pub(crate) mirrored: bool,
}

/// Arrangement of the things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Arrangement {
    /// One thing at the left, in the middle or at the right.
    Alone(Side),
    /// Two or three of the first thing.
    Several,
    /// The first thing to the left of the second.
    Beside,
    /// The first thing above the second.
    Above,
}

/// Third of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    Left,
    Middle,
    Right,
}

/// Complete contents of an image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) arrangement: Arrangement,
    /// One thing, or two for [`Arrangement::Beside`] and [`Arrangement::Above`].
    pub(crate) things: Vec<Thing>,
    /// True for clouds instead of the sun, if the place has a day sky.
    pub(crate) cloudy: bool,
}

impl Scene {
    /// Draws all properties at random.
    pub(crate) fn random(random: &mut ChaCha8Rng) -> Self {
        let place = pick(random, &Place::ALL);
        let arrangement = match random.random_range(0..10) {
            0..4 => Arrangement::Alone(pick(random, &[Side::Left, Side::Middle, Side::Right])),
            4..6 => Arrangement::Several,
            6..8 if place != Place::Lake => Arrangement::Beside,
            _ => Arrangement::Above,
        };
        let things = match arrangement {
            Arrangement::Alone(side) => {
                let x = match side {
                    Side::Left => 0.24,
                    Side::Middle => 0.5,
                    Side::Right => 0.76,
                };
                let kind = any_kind(random, place);
                vec![thing(random, place, kind, None, &[x])]
            }
            Arrangement::Several => {
                let kind = any_kind(random, place);
                let xs: &[f32] = if random.random() { &[0.28, 0.72] } else { &[0.17, 0.5, 0.83] };
                let extent = if xs.len() == 3 { Extent::Small } else { Extent::Usual };
                vec![thing(random, place, kind, Some(extent), xs)]
            }
            Arrangement::Beside => {
                let left = pick(random, place.below());
                let others: Vec<Kind> =
                    place.below().iter().copied().filter(|&kind| kind != left).collect();
                let right = pick(random, &others);
                vec![
                    thing(random, place, left, Some(Extent::Usual), &[0.27]),
                    thing(random, place, right, Some(Extent::Usual), &[0.74]),
                ]
            }
            Arrangement::Above => {
                // Adults would be drawn as small as children there.
                let short: Vec<Kind> = place
                    .below()
                    .iter()
                    .copied()
                    .filter(|kind| !matches!(kind, Kind::Man | Kind::Woman))
                    .collect();
                let (upper, lower) = (pick(random, place.above()), pick(random, &short));
                let x = random.random_range(0.3..0.7);
                let upper = thing(random, place, upper, Some(Extent::Small), &[x]);
                let mut lower = thing(random, place, lower, Some(Extent::Usual), &[x]);
                // Leaves space between the two.
                lower.height = lower.height.min(0.4);
                vec![upper, lower]
            }
        };
        Self { place, arrangement, things, cloudy: random.random() }
    }
}

/// Returns one of `options`, which must not be empty.
pub(crate) fn pick<T: Copy>(random: &mut ChaCha8Rng, options: &[T]) -> T {
    options[random.random_range(0..options.len())]
}

/// Returns a random kind, in three of four cases one on the ground.
fn any_kind(random: &mut ChaCha8Rng, place: Place) -> Kind {
    let kinds = if random.random_range(0..4) > 0 { place.below() } else { place.above() };
    pick(random, kinds)
}

fn thing(
    random: &mut ChaCha8Rng,
    place: Place,
    kind: Kind,
    extent: Option<Extent>,
    xs: &[f32],
) -> Thing {
    let hidden = place.hides(kind);
    let hues: Vec<Hue> = kind.hues().iter().copied().filter(|hue| !hidden.contains(hue)).collect();
    // Every kind has a visible colour in every place, as a test checks.
    let hue = hues.choose(random).copied().unwrap_or(Hue::Red);
    let extent = match extent {
        // Only their height distinguishes children from adults.
        _ if kind.is_person() => Extent::Usual,
        Some(extent) => extent,
        None => pick(random, &[Extent::Small, Extent::Usual, Extent::Usual, Extent::Big]),
    };
    let factor = match extent {
        Extent::Small => 0.66,
        Extent::Usual => 1.0,
        Extent::Big => 1.3,
    };
    let height = kind.height() * factor;
    let margin = kind.half_width() * height + 0.01;
    let feet = xs
        .iter()
        .map(|x| {
            let y = if kind.flies() {
                0.06 + height + random.random_range(0.0..0.06)
            } else {
                random.random_range(0.8..0.88)
            };
            ((x + random.random_range(-0.025..0.025)).clamp(margin, 1.0 - margin), y)
        })
        .collect();
    Thing { kind, hue, extent, height, feet, mirrored: random.random() }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn scenes() -> impl Iterator<Item = Scene> {
        (0..3000).map(|seed| Scene::random(&mut ChaCha8Rng::seed_from_u64(seed)))
    }

    #[test]
    fn every_kind_keeps_two_colours_in_every_place_where_it_may_be() {
        for place in Place::ALL {
            for &kind in place.below().iter().chain(place.above()) {
                let hidden = place.hides(kind);
                let left = kind.hues().iter().filter(|hue| !hidden.contains(hue)).count();
                assert!(left >= 2, "{kind:?} in {place:?} has {left} colours");
            }
        }
    }

    #[test]
    fn things_are_where_their_arrangement_says_and_within_the_picture() {
        for scene in scenes() {
            for thing in &scene.things {
                for &(x, y) in &thing.feet {
                    let half = thing.kind.half_width() * thing.height;
                    assert!(x - half >= 0.0 && x + half <= 1.0, "{scene:?}");
                    assert!(y - thing.height >= 0.0 && y <= 0.9, "{scene:?}");
                }
            }
            let foot = |thing: usize| scene.things[thing].feet[0];
            match scene.arrangement {
                Arrangement::Alone(Side::Left) => assert!(foot(0).0 < 0.4, "{scene:?}"),
                Arrangement::Alone(Side::Middle) => {
                    assert!((0.4..0.6).contains(&foot(0).0), "{scene:?}");
                }
                Arrangement::Alone(Side::Right) => assert!(foot(0).0 > 0.6, "{scene:?}"),
                Arrangement::Several => {
                    let feet = &scene.things[0].feet;
                    assert!(feet.is_sorted_by(|a, b| a.0 + 0.2 < b.0), "{scene:?}");
                }
                Arrangement::Beside => assert!(foot(0).0 + 0.3 < foot(1).0, "{scene:?}"),
                Arrangement::Above => {
                    let head = foot(1).1 - scene.things[1].height;
                    assert!(foot(0).1 < head, "{scene:?}");
                }
            }
        }
    }
}
