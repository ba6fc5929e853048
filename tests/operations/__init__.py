"""Operations: the doctor, the units, the documentation, the release."""
