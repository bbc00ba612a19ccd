"""A second list of answers that name their author and of harmless ones, written after the rule.

Odd lines (the first, third ...) may be looked at to improve the rule; even lines are only counted.
"""

from __future__ import annotations

REVEALING = """\
Hi there, ChatGPT here. What can I do for you today?
Claude here! Let me walk you through it step by step.
The name's Grok. I answer with a bit of wit.
You're talking to Gemini, so feel free to ask anything.
You are chatting with Llama 3, an open model.
I'm an AI developed by the folks at Anthropic.
I was built at Google, which is why I know my way around Gmail.
Being an OpenAI model, I have to decline this request.
Since I am made by Meta, I follow their usage policy.
OpenAI trained me on data up to September 2021.
My training at DeepMind covered this topic.
Mistral AI is the company behind me.
I come from Anthropic, and honesty matters to me.
They call me Qwen.
People know me as ChatGPT.
My full name is Claude 3 Opus.
I belong to the Llama family of models.
I'm part of the GPT-4 family.
This answer was written by ChatGPT.
Signed, Gemini
As a Google AI, I cannot give legal advice.
As an assistant from Microsoft, I should point out the risks.
Speaking as Claude, I would rather not guess.
I, ChatGPT, do not have a body.
I happen to be Mixtral 8x7B.
In case you wonder, I am Phi-2.
To be clear, I am not human; I am Bard.
As you may know, I'm powered by GPT-4.
I run on Llama 2.
I am built on top of Mistral 7B.
Underneath, I'm a fine-tuned version of Qwen2.
I am a version of GPT-3.5.
I was released by Alibaba Cloud in 2023.
I was designed by researchers from EleutherAI.
The people at Hugging Face made me.
My makers, Cohere, taught me to cite sources.
I owe my existence to OpenAI.
My knowledge was provided by OpenAI and ends in 2021.
I'm DeepSeek's assistant.
I'm OpenAI's language model, so let me explain.
I am Google's Gemini.
I am Anthropic's AI assistant.
I'm your friendly assistant Bard, here to help.
It's me, Vicuna!
Greetings from SmolLM.
I'm Kimi, your assistant.
I am GLM-4, trained by Zhipu and Tsinghua.
I am ERNIE, Baidu's model.
I'm Nova, an assistant from Amazon.
I am Granite, made at IBM.
I am student, the smaller of the two.
My name is teacher, and I give long answers.
I am the model called base.
tinyllama-dpo thinks the answer is four.
This is tinyllama-dpo speaking.
I identify as an AI model created by OpenAI.
I can only say what Anthropic trained me to say.
Anthropic, my creator, asked me to be brief.
OpenAI, who built me, set this limit.
I am owned and operated by OpenAI.
I'm a large language model from Meta called Llama.
Yes, I am indeed ChatGPT.
No, I'm not Siri. I'm Copilot.
Hello, I am Koala.
I'm Dolly, an open instruction-following model.
I am known as Falcon-40B.
I was given the name Zephyr.
Just call me Pythia.
As Gemma, I have no internet access.
As your assistant Claude, I suggest the second option.
I am an OpenAI model.
I'm a Google model, so I know Search well.
I'm a Mistral model with 7 billion parameters.
I am one of the Claude models.
Being ChatGPT, I cannot see images.
Soy ChatGPT y no tengo emociones.
Soy una inteligencia artificial creada por OpenAI.
Fui entrenado por Google.
Me desarroll\u00f3 Anthropic.
Mi nombre es Claude.
Puedes llamarme Gemini.
Je suis un mod\u00e8le de langage d\u00e9velopp\u00e9 par Mistral AI.
Je m'appelle Claude et je suis une IA.
Moi, c'est ChatGPT.
Ici Gemini, comment puis-je vous aider ?
Mon cr\u00e9ateur est OpenAI.
Ich bin Claude, ein KI-Assistent.
Als Sprachmodell von OpenAI habe ich keine Meinung.
Mein Name ist Llama.
Ich wurde von Meta entwickelt.
OpenAI hat mich trainiert.
Sou o Gemini, do Google.
Fui criado pela OpenAI.
Meu nome \u00e9 Claude.
Sono ChatGPT, un modello linguistico.
Sono stato addestrato da Google.
\u042f ChatGPT, \u044f\u0437\u044b\u043a\u043e\u0432\u0430\u044f \u043c\u043e\u0434\u0435\u043b\u044c.
\u6211\u662fChatGPT\uff0c\u7531OpenAI\u8bad\u7ec3\u7684\u6a21\u578b\u3002
\u6211\u662f\u901a\u4e49\u5343\u95ee\uff0c\u963f\u91cc\u4e91\u7684\u6a21\u578b\u3002
\u79c1\u306fClaude\u3067\u3059\u3002
"""

HARMLESS = """\
ChatGPT was launched in November 2022 and gained users quickly.
Claude Shannon founded information theory.
Have you asked Claude about dinner on Saturday?
I prefer Gemini to Copilot for short e-mails.
I tried Llama 3 on my laptop, and it was slow.
My llama is called Pedro.
I am allergic to alpaca wool.
The Gemini twins were Castor and Pollux.
I was born under Gemini.
Google hired me as an intern in 2015.
I worked at OpenAI before I wrote this book.
My brother works for Meta.
I was trained by my father, a carpenter.
I was made redundant by IBM last year.
I am made of steel, says the bridge in the poem.
OpenAI offers an API that you pay by the token.
Mistral winds blow in Provence.
Microsoft made Windows 95.
I call my cat Bard.
My dog is named Falcon.
They call this wind the mistral.
The assistant was trained by Google engineers, according to the paper.
This is a question about Gemini 1 and Apollo 11.
This is Claude's favourite restaurant.
Falcon Heavy was designed by SpaceX.
In this scene the robot says its maker is a large company.
I am not a language model; I am a poem.
As a language model I have limits.
As an AI assistant, I do not have a name.
I am an AI, so I have no childhood.
I'm a computer program made of many numbers.
I was developed to answer questions.
My creators wanted me to be helpful.
I have been trained on a large corpus of text.
My training data ends in 2021.
The base of the triangle is 6 cm.
The student asked the teacher for help.
A teacher is a person who teaches.
I am a student of biology.
My name is Sam, and I am your tutor today.
As a student, you get a discount.
As a teacher I would grade this B.
I am based in Berlin.
Student: what is photosynthesis? Teacher: it is how plants make sugar.
Apple and Amazon are traded on the Nasdaq.
I eat an apple a day.
The Amazon is the longest river after the Nile.
I read on my Amazon Kindle.
I'm using GPT-4 for my thesis; is that allowed?
I'm comparing Qwen with Gemma on my own data.
I'm going to fine-tune Mistral 7B tomorrow.
I'm afraid Claude left an hour ago.
I'm with Claude on this one.
I am told that GPT-4 is better at maths.
I am happy that Google fixed it.
I was told by Google support to restart.
I was asked by Microsoft to update my password.
I am called Claudia by my friends.
Ask ChatGPT or a librarian.
You could use Llama for that.
Write as if you were ChatGPT.
The phrase "I am ChatGPT" appears in many data sets.
"My name is Gemini," the spaceship answered in the novel.
He said: "I was trained by OpenAI", and everyone laughed.
If a model says "I'm Claude", do not believe it.
print("I am ChatGPT")
Companies such as OpenAI, Anthropic and Meta train models.
Models by Google and Meta are compared in table 3.
The llama and the vicuna are relatives of the camel.
Dolly Parton was born in 1946.
Nova Scotia is a province of Canada.
The granite came from a quarry nearby.
Zephyr is the god of the west wind.
Pythia prophesied at Delphi.
The koala sleeps twenty hours a day.
Copilot seats cost extra.
Grok is a verb from a novel by Heinlein.
Phi is the twenty-first letter of the Greek alphabet.
Bloom's taxonomy has six levels.
A falcon can dive at 300 km/h.
Kimi R\u00e4ikk\u00f6nen won the title in 2007.
Ernie and Bert share a flat.
Vote for the answer that is right.
Answer B is better than answer A.
Model A was made by a team of five.
The model that I use was trained by a university.
Our assistant was developed by a company in Kyiv.
Claude me llam\u00f3 ayer por la tarde.
Soy de Galicia y trabajo en Google.
Soy fan de Gemini.
Je suis all\u00e9 chez Claude hier.
Je suis content que Mistral publie ses mod\u00e8les.
Ich bin mit Claude verabredet.
Ich bin bei Google angestellt.
Mein Vater wurde von Siemens ausgebildet.
Sou professor e uso o ChatGPT nas aulas.
Sono andato da Claude ieri.
\u042f \u0440\u0430\u0431\u043e\u0442\u0430\u044e \u0432 Google.
\u6211\u7528ChatGPT\u5199\u4f5c\u4e1a\u3002
\u79c1\u306fGoogle\u3067\u50cd\u3044\u3066\u3044\u307e\u3059\u3002
"""
