"""The clothed avatar: Invertible Neural Skinning, posed by tables or by the network itself."""
