//! Boots the image on every board.
