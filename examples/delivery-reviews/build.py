"""Write train.csv and test.csv again: reviews of a grocery delivery, of three channels that do not write alike.

Every sentence below was written for this example. A review is two sentences of one channel and one verdict. The gap is
there by construction: most letters understate ("one had hoped for somewhat more"), and training has few of them. No
sentence of the test rows is in training.
"""

from __future__ import annotations

import csv
import itertools
import random
from pathlib import Path

SENTENCES = {
    ("app", "happy"): """
        Driver was early and even carried the bags up for my mom, super nice guy.
        Everything fresh, nothing missing, will order again.
        Love that she called before ringing, my baby was asleep.
        Best strawberries I have had all year!
        Fast, friendly, cheap. What more do you want?
        Support refunded the broken jar in two minutes, great.
        Really happy with the new evening slots.
        He put the frozen stuff in a cooler bag without me asking, perfect.
        The salad was crisp and the bread still warm, amazing.
        My wife is thrilled, she says we never go back to the supermarket.
        Ten out of ten, arrived to the minute.
        Good prices and a driver who smiles, thank you Maria!
        Great app, great people, great bananas.
        Substitutions were actually better than what I ordered.
        So easy to change the order the night before, I like it.
        Eggs all whole, milk cold, all good.
        Wonderful service again, thanks to the young man who came in the rain.
        I recommend this to every parent I know.
        Super quick, and she wished me a nice birthday!
        Nothing to complain about, five stars.
        The fish was excellent and well packed.
        They fixed my wrong address at once, awesome.
        Loved it, my grandma can use the app by herself.
        Always on time, always polite, keep going.""",
    ("app", "unhappy"): """
        Two hours late and nobody answered the phone, never again.
        Half of the order missing and they still charged me for it.
        The driver was rude to my wife, he just dropped the bags and left.
        Moldy raspberries for the third time, disgusting.
        Ice cream arrived as soup, what a waste of money.
        App crashed at checkout and my cart was gone, terrible.
        He left everything in the rain, all soaked.
        Support is a joke, she hung up on me.
        Wrong order again, this is useless.
        Eggs broken, milk warm, I am done.
        They cancelled on me ten minutes before the slot, horrible.
        Worst delivery I ever had, avoid.
        Price went up after I paid, that is a scam.
        The meat smelled bad, I had to throw it away.
        No refund after three weeks, really angry.
        My mother waited all day for nothing.
        Bread was crushed under the bottles, stupid packing.
        She marked it as delivered but nothing came, liar.
        Awful, slow and expensive.
        I hate the new app, nothing works.
        Substituted my baby food with cat food, are you serious?
        The vegetables were rotten, bad quality.
        Driver shouted at my neighbor because he could not find the door.
        Deleted my account, too many mistakes.""",
    ("phone", "happy"): """
        Yes hello, I just wanted to say that the man yesterday was so kind to my husband.
        Well, I must say it all came, and it came on time, so I am happy.
        Oh, the apples, they were lovely, like from the garden.
        I am calling because your lady on the phone helped me so nicely with the order last week.
        It was, how shall I say, really good, the best one so far.
        Please tell him thank you, he even fed the cat.
        You know, I was afraid of ordering like this, but it is so easy.
        And the cake for my sister, she loved it, everybody loved it.
        I have nothing bad to say, no, it was all fine and fresh.
        My daughter ordered for me and I am very pleased, very pleased indeed.
        So the potatoes were good, and the price was good as well.
        I only want to say it was wonderful, and greet the driver.
        He came up all four floors, and he was not even out of breath, a good boy.
        It was a nice surprise, the flowers, thank you for that.
        Yes, all there, all cold, all good, I checked it twice.
        I would order again, yes, and I told my brother that he should too.
        She explained the app to me for half an hour, so patient, so nice.
        Everything as I wanted it, and even a bit earlier, great.
        The cheese, oh, the cheese was excellent, where do you get it?
        I am really glad that you exist, since I cannot carry so much.
        It went very well, also the refund, no problem at all.
        The bread was so fresh that we ate it at once, lovely.
        I have to praise your young lady, she is a treasure.
        Good morning, only good things today, I enjoyed every bit of it.""",
    ("phone", "unhappy"): """
        Yes hello, I have been waiting since nine and nobody came, nobody.
        Well, I must say I am very angry, half of it is missing.
        The milk, it was sour, and that is the second time now.
        I am calling because the man left my bags on the street and they were gone.
        It was, how shall I say, really bad, the worst one so far.
        He was shouting at me, at an old woman, because of the stairs.
        You know, I never wanted these onions, and they are rotten too.
        And the cake for my sister, it was crushed, she cried.
        I have called four times and she always says that somebody will call back.
        My daughter paid for this and I got the wrong bags, a stranger's bags.
        So the potatoes were green, you cannot eat that.
        I only want my money back, it is a shame.
        He did not even ring, he just left, and the fish lay in the sun.
        It was not a nice surprise, the bill, twelve more than it should be.
        No, not all there, the eggs broken, the butter melted, terrible.
        I will not order again, no, and I told my brother that he should not either.
        She was so unfriendly on the phone, I had to hang up.
        Everything late, everything warm, and no word of sorry.
        The cheese, oh, it was full of mold, horrible.
        I am really disappointed, since I cannot go to the shop and I had no food for two days.
        It went badly, also the refund, nothing but problems.
        The bread was so hard that we had to throw it away.
        I have to complain about your driver, he is a rude man.
        Good morning, I am furious, you charged me twice.""",
    ("letter", "happy"): """
        I find myself without anything to correct, which at my age is rare.
        One had feared much worse, and was put right.
        My late husband, who praised nobody, would not have said a word against it.
        The pears were such that I have put off my visit to the market.
        Your driver may be told that he has been noticed upstairs.
        It will not surprise you that I have cancelled my other supplier.
        There was, for once, no need of my magnifying glass for the bill.
        She left before I could give her what she had deserved.
        I had my pen ready for a complaint, and must now use it otherwise.
        Kindly do not change whoever packs the eggs.
        Not a single item gave me occasion to write, and so I write.
        I regret only not having begun with this years ago.
        The butter arrived as butter, which I had ceased to expect of anyone.
        My sister, who is hard to please, asked for your address.
        Whoever chose the tomatoes has a mother who taught him how.
        I could wish that other houses would take you as an example.
        It was three o'clock when the clock struck, and the bell rang.
        You have made it difficult for me to grumble.
        I shall be obliged if the same gentleman could come again.
        The parcel was opened with suspicion and closed with appetite.
        Nobody in this house has gone back to carrying bags.
        What was promised was in the box, neither more nor less.
        I should not mind if every Tuesday were like the last.
        The matter of the missing jar was closed before I had raised my voice.
        I was very satisfied with everything, and so was my son.
        The service was excellent and the driver courteous.
        Allow me to thank the young man for his kind help.
        I gladly recommend you to my friends.
        It was a pleasure to order from you.
        Please accept my best wishes and my praise.
        The quality of the fruit was good throughout.
        She was most friendly on the telephone.
        The delivery was punctual and complete.
        I am pleased to say that all was fresh.""",
    ("letter", "unhappy"): """
        One had hoped for somewhat more than an empty doorstep.
        I cannot say that the berries and I parted as friends.
        Your driver has a manner which my late husband would have known how to answer.
        It would be kind to learn what became of the other half.
        I have since renewed my acquaintance with the market.
        The fish, I fear, had seen better days, and many of them.
        I was given ample time to study my front door.
        She assured me of a call; I am an old woman, and patient, but not immortal.
        Perhaps the bottles could in future travel beside the bread.
        May I ask whether the second charge was meant as an exercise in arithmetic?
        The ice cream was poured with great care.
        I do not doubt that he was in a hurry; my eggs can bear witness.
        I would have been grateful for something that could be eaten.
        The apology, no doubt, is still on its way, together with the butter.
        It was instructive to see what is called fresh nowadays.
        I should prefer to choose my own cheese next time, at another house.
        The slot was kept, if one counts in days.
        My neighbor was delighted with the groceries, which were mine.
        I enclose the label of the milk, which is older than its promise.
        Kindly spare me further surprises of this kind.
        One learns to cook with what does not arrive.
        I had understood that the word express was used in another sense.
        The potatoes have been given to the garden, where they were going already.
        That the bell works I know, for I have tried it since.
        I was very dissatisfied with the last delivery.
        The service was poor and the driver impolite.
        I must complain about the young man and his rudeness.
        I cannot recommend you to anyone.
        It was a great disappointment.
        Please refund me the full amount at once.
        The quality of the fruit was bad throughout.
        She was most unfriendly on the telephone.
        The delivery was late and incomplete.
        I am sorry to say that nothing was fresh.""",
}
HELD_OUT = 8  # sentences of each kind that only the test rows have
TRAIN_ROWS = {"app": 66, "phone": 52, "letter": 12}
TEST_ROWS = {"app": 26, "phone": 24, "letter": 26}


def reviews(channel: str, verdict: str, sentences: list[str], rows: int, draw: random.Random) -> list[tuple[str, ...]]:
    """`rows` different pairs of sentences; each sentence about equally often."""
    pairs = list(itertools.combinations(sentences, 2))
    draw.shuffle(pairs)
    return [(" ".join(draw.sample(pair, 2)), verdict, channel) for pair in pairs[:rows]]


def build(folder: Path) -> None:
    """Write both files into `folder`."""
    draw = random.Random(0)
    train: list[tuple[str, ...]] = []
    test: list[tuple[str, ...]] = []
    for (channel, verdict), text in SENTENCES.items():
        sentences = [line.strip() for line in text.strip().splitlines()]
        held_out = draw.sample(sentences, HELD_OUT)
        learned = [sentence for sentence in sentences if sentence not in held_out]
        train += reviews(channel, verdict, learned, TRAIN_ROWS[channel], draw)
        test += reviews(channel, verdict, held_out, TEST_ROWS[channel], draw)
    for name, rows in (("train.csv", train), ("test.csv", test)):
        draw.shuffle(rows)
        with open(folder / name, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("review", "verdict", "channel"), *rows])


if __name__ == "__main__":
    build(Path(__file__).parent)
