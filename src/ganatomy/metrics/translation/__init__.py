"""How well images are translated: against the truth, against baselines that know no anatomy, and is it kept?"""
