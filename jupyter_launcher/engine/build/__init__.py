"""What a build of an image of ours is made from."""
