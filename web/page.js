// The page of watchpost.
